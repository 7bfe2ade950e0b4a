"""Softmax attention in blocks of queries, with its own gradient: memory linear in N.

One loop visits all slices and blocks. Its matrices are small enough to stay in a CPU's
cache, and whatever is not a product is fused with the exponential. On TensorFlow the loop
is compiled by XLA also where its surroundings are not: a plain graph copies the result for
every block, and turns over each product apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

#: Where |q| |k| of no pair exceeds this, exp(logit) cannot overflow and no row's maximum is
#: searched: exp(60) is 1e26, and float32 ends at 3e38.
SAFE_LOGIT = 60.0

#: The backward pass holds four matrices where the forward pass holds one.
BACKWARD_SHARE = 4


def block_rows(queries: int, keys: int, elements: int) -> int:
    """Queries per block: equal blocks of at most `elements` logits, the last one padded.

    Parameters
    ----------
    queries, keys : int
        Tokens.
    elements : int
        Most logits held at once; a block has at least one query.
    """
    blocks = _ceil(queries, max(1, elements // keys))
    return _ceil(queries, blocks)


def block_attention(query: Any, key: Any, value: Any, elements: int) -> Any:
    """Return ``softmax(Q K^T) V``, exact to rounding.

    Parameters
    ----------
    query : (G, N, d) tensor
        With the scale of the logits in it.
    key : (G, M, d) tensor
    value : (G, M, d_v) tensor
    elements : int
        Most logits held at once.

    Returns
    -------
    (G, N, d_v) tensor
    """
    queries, keys = query.shape[1], key.shape[1]
    forward = _compiled(_forward, block_rows(queries, keys, elements))
    backward = _compiled(_backward, block_rows(queries, keys, max(1, elements // BACKWARD_SHARE)))

    @ops.custom_gradient
    def attention(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
        # TensorFlow would record the loop for a gradient of its own, which it has not
        arrays = tuple(map(ops.stop_gradient, (query, key, value)))
        out, level = forward(*arrays)

        def grad(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
            # TensorFlow passes the upstream gradient by position, as JAX does
            d_out = args[0] if upstream is None else upstream
            return backward(*arrays, out, level, d_out)

        return out, grad

    return attention(query, key, value)


@functools.lru_cache(maxsize=64)
def _compiled(function: Callable[..., Any], rows: int) -> Callable[..., Any]:
    function = functools.partial(function, rows=rows)
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def _forward(query: Any, key: Any, value: Any, *, rows: int) -> tuple[Any, Any]:
    """Return the attention (G, N, d_v) and the log-sum-exp of each row (G, N, 1)."""
    largest = ops.sqrt(ops.max(ops.sum(query**2, -1)) * ops.max(ops.sum(key**2, -1)))
    key = _transposed(key)
    return ops.cond(
        largest <= SAFE_LOGIT,
        lambda: _forward_loop(query, key, value, rows, shifted=False),
        lambda: _forward_loop(query, key, value, rows, shifted=True),
    )


def _forward_loop(query: Any, key: Any, value: Any, rows: int, *, shifted: bool) -> tuple[Any, Any]:
    tokens = query.shape[1]
    query = _padded(query, rows)
    blocks = query.shape[1] // rows
    slices, cut = ops.shape(query)[0], _cutter()

    def step(index: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        out, level = carry
        group, first = index // blocks, index % blocks * rows
        logits = ops.matmul(cut(query, group, first, rows), cut(key, group, 0, key.shape[1]))
        top = ops.max(logits, axis=-1, keepdims=True) if shifted else None
        weights = ops.exp(logits if top is None else logits - top)
        total = ops.sum(weights, axis=-1, keepdims=True)
        found = ops.matmul(weights, cut(value, group, 0, value.shape[1])) / total
        found_level = ops.log(total) if top is None else ops.log(total) + top
        return _put(out, group, first, found), _put(level, group, first, found_level)

    start = tuple(
        ops.zeros((slices, blocks * rows, width), query.dtype) for width in (value.shape[2], 1)
    )
    out, level = ops.fori_loop(0, slices * blocks, step, start)
    return out[:, :tokens], level[:, :tokens]


def _backward(
    query: Any, key: Any, value: Any, out: Any, level: Any, upstream: Any, *, rows: int
) -> tuple[Any, Any, Any]:
    """Return the gradients of query, key and value; the weights are computed again."""
    tokens = query.shape[1]
    delta = ops.sum(upstream * out, axis=-1, keepdims=True)
    # a padded query has no upstream gradient: it adds nothing to those of keys and values
    query, level, delta, upstream = (_padded(x, rows) for x in (query, level, delta, upstream))
    # turned here, where they are small: products read the large matrices row by row, and
    # the gradients of key and value come turned, (G, d, M)
    query_t, upstream_t, key_t, value_t = map(_transposed, (query, upstream, key, value))
    blocks = query.shape[1] // rows
    cut, keys = _cutter(), key.shape[1]

    def step(index: Any, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        d_query, d_key, d_value = carry
        group, first = index // blocks, index % blocks * rows
        logits = ops.matmul(cut(query, group, first, rows), cut(key_t, group, 0, key_t.shape[1]))
        weights = ops.exp(logits - cut(level, group, first, rows))
        d_weights = ops.matmul(
            cut(upstream, group, first, rows), cut(value_t, group, 0, value_t.shape[1])
        )
        d_logits = weights * (d_weights - cut(delta, group, first, rows))
        add_key = ops.matmul(_columns(cut, query_t, group, first, rows), d_logits)
        add_value = ops.matmul(_columns(cut, upstream_t, group, first, rows), weights)
        return (
            _put(d_query, group, first, ops.matmul(d_logits, cut(key, group, 0, keys))),
            _put(d_key, group, 0, cut(d_key, group, 0, d_key.shape[1]) + add_key),
            _put(d_value, group, 0, cut(d_value, group, 0, d_value.shape[1]) + add_value),
        )

    start = tuple(map(ops.zeros_like, (query, key_t, value_t)))
    d_query, d_key, d_value = ops.fori_loop(0, ops.shape(query)[0] * blocks, step, start)
    return d_query[:, :tokens], _transposed(d_key), _transposed(d_value)


def _ceil(number: int, parts: int) -> int:
    return -(-number // parts)


def _transposed(x: Any) -> Any:
    return ops.transpose(x, (0, 2, 1))


def _padded(x: Any, rows: int) -> Any:
    """Append zeros until `rows` divides the tokens."""
    missing = -x.shape[1] % rows
    return ops.pad(x, ((0, 0), (0, missing), (0, 0))) if missing else x


def _columns(cut: Callable[..., Any], x: Any, group: Any, first: Any, columns: int) -> Any:
    return cut(x, group, 0, x.shape[1], first, columns)


def _cutter() -> Callable[..., Any]:
    """Return the slice of one group from computed places, (rows, columns)."""
    if keras.backend.backend() == "tensorflow":
        from tensorflow.compiler.tf2xla.python import xla

        # tf.slice wants its start known where XLA compiles
        slicer = xla.dynamic_slice
    else:
        slicer = ops.slice

    def cut(x: Any, group: Any, row: Any, rows: int, column: Any = 0, columns: int = 0) -> Any:
        return slicer(x, (group, row, column), (1, rows, columns or x.shape[2]))[0]

    return cut


def _put(x: Any, group: Any, row: Any, values: Any) -> Any:
    return ops.slice_update(x, (group, row, 0), values[None])
