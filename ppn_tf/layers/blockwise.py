"""Softmax attention in blocks of queries, with its own gradient: memory linear in N.

A loop visits all blocks, and within each all slices. Its matrices are small enough to stay
in a CPU's cache, and whatever is not a product is fused with the exponential. A modulation
of the logits is the same for all slices: its block is computed once for all of them, which
is cheaper than features that are wide enough to hold it. On TensorFlow the loop is compiled
by XLA also where its surroundings are not: a plain graph copies the result for every block,
and turns over each product apart. XLA gives a loop little of a second core: on a CPU, slices
are dealt to as many programs as there are threads, which TensorFlow runs side by side.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

#: Where |q| |k| of no pair exceeds this, exp(logit) cannot overflow and no row's maximum is
#: searched: exp(60) is 1e26, and float32 ends at 3e38.
SAFE_LOGIT = 60.0

#: The backward pass holds four matrices where the forward pass holds one.
BACKWARD_SHARE = 4

#: Most programs that slices are dealt to; a batch has few slices more than this.
MAX_PROGRAMS = 16


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


def block_attention(
    query: Any, key: Any, value: Any, elements: int, modulation: tuple[Any, Any] | None = None
) -> Any:
    """Return ``softmax((Q K^T) * M) V``, exact to rounding.

    Parameters
    ----------
    query : (G, N, d) tensor
        With the scale of the logits in it.
    key : (G, M, d) tensor
    value : (G, M, d_v) tensor
    elements : int
        Most logits held at once, by all programs together.
    modulation : tuple of (N, r) and (M, r) tensor, optional
        Factors of the matrix that multiplies the logits of every slice, their product over
        r; ones without it.

    Returns
    -------
    (G, N, d_v) tensor
    """
    number, factors = min(programs(), query.shape[0] or MAX_PROGRAMS), modulation or ()
    if number == 1:
        return _program(query, key, value, factors, elements)
    import tensorflow as tf

    slices = tf.shape(query)[0]
    # no program goes without a slice
    full = tf.maximum(slices, number)
    sizes = (full + tf.range(number)) // number
    padding = ((0, full - slices), (0, 0), (0, 0))
    dealt = (tf.split(tf.pad(x, padding), sizes, num=number) for x in (query, key, value))
    parts = [_program(*part, factors, elements // number) for part in zip(*dealt, strict=True)]
    out = tf.concat(parts, 0)[:slices]
    return tf.ensure_shape(out, (*query.shape[:2], value.shape[2]))


def programs() -> int:
    """Return how many programs slices are dealt to: one for each thread of TensorFlow on a CPU."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return 1
    threads = tf.config.threading.get_inter_op_parallelism_threads() or _cores()
    return min(threads, MAX_PROGRAMS)


def _cores() -> int:
    """Return the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _program(query: Any, key: Any, value: Any, factors: tuple[Any, ...], elements: int) -> Any:
    """Return the attention of some slices, in one program with its own gradient."""
    queries, keys = query.shape[1], key.shape[1]
    forward = _compiled(_forward, block_rows(queries, keys, elements))
    backward = _compiled(_backward, block_rows(queries, keys, max(1, elements // BACKWARD_SHARE)))

    @ops.custom_gradient
    def attention(*arrays: Any) -> tuple[Any, Any]:
        # TensorFlow would record the loop for a gradient of its own, which it has not
        arrays = tuple(map(ops.stop_gradient, arrays))
        out, level = forward(*arrays)

        def grad(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
            # TensorFlow passes the upstream gradient by position, as JAX does
            d_out = args[0] if upstream is None else upstream
            return backward(out, level, d_out, *arrays)

        return out, grad

    return attention(query, key, value, *factors)


@functools.lru_cache(maxsize=64)
def _compiled(function: Callable[..., Any], rows: int) -> Callable[..., Any]:
    function = functools.partial(function, rows=rows)
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def _forward(query: Any, key: Any, value: Any, *factors: Any, rows: int) -> tuple[Any, Any]:
    """Return the attention (G, N, d_v) and the log-sum-exp of each row (G, N, 1)."""
    left, right = factors or (None, None)
    largest = ops.sqrt(_longest(query, left) * _longest(key, right))
    arrays = (query, _transposed(key), value, *factors)
    return ops.cond(
        largest <= SAFE_LOGIT,
        lambda: _forward_loop(*arrays, rows=rows, shifted=False),
        lambda: _forward_loop(*arrays, rows=rows, shifted=True),
    )


def _longest(x: Any, factor: Any) -> Any:
    """Return the largest squared length of a token's features, times that of its factor."""
    squared = ops.sum(x**2, -1)
    return ops.max(squared if factor is None else squared * ops.sum(factor**2, -1))


def _forward_loop(
    query: Any, key: Any, value: Any, *factors: Any, rows: int, shifted: bool
) -> tuple[Any, Any]:
    tokens = query.shape[1]
    query = _padded(query, rows)
    blocks, slices, cut = query.shape[1] // rows, ops.shape(query)[0], _cutter()
    modulation_of = _modulation(factors, rows)

    def block(index: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        first = index * rows
        modulation = modulation_of(first)

        def step(group: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            out, level = carry
            logits = ops.matmul(cut(query, group, first, rows), cut(key, group, 0, key.shape[1]))
            logits = _times(logits, modulation)
            top = ops.max(logits, axis=-1, keepdims=True) if shifted else None
            weights = ops.exp(logits if top is None else logits - top)
            total = ops.sum(weights, axis=-1, keepdims=True)
            found = ops.matmul(weights, cut(value, group, 0, value.shape[1])) / total
            found_level = ops.log(total) if top is None else ops.log(total) + top
            return _put(out, group, first, found), _put(level, group, first, found_level)

        return ops.fori_loop(0, slices, step, carry)

    start = tuple(
        ops.zeros((slices, blocks * rows, width), query.dtype) for width in (value.shape[2], 1)
    )
    out, level = ops.fori_loop(0, blocks, block, start)
    return out[:, :tokens], level[:, :tokens]


class _Given(NamedTuple):
    """What the backward pass reads; a name in _t has its last two axes turned.

    Turned beforehand, where they are small: products read the large matrices row by row,
    and the gradients of key and value come turned, (G, d, M).
    """

    query: Any
    query_t: Any
    key: Any
    key_t: Any
    value_t: Any
    level: Any
    delta: Any
    upstream: Any
    upstream_t: Any

    @classmethod
    def of(
        cls, query: Any, key: Any, value: Any, out: Any, level: Any, upstream: Any, rows: int
    ) -> _Given:
        delta = ops.sum(upstream * out, axis=-1, keepdims=True)
        # a padded query has no upstream gradient: it adds nothing to those of keys and values
        query, level, delta, upstream = (_padded(x, rows) for x in (query, level, delta, upstream))
        query_t, key_t, value_t, upstream_t = map(_transposed, (query, key, value, upstream))
        return cls(query, query_t, key, key_t, value_t, level, delta, upstream, upstream_t)


def _backward(
    out: Any, level: Any, upstream: Any, query: Any, key: Any, value: Any, *factors: Any, rows: int
) -> tuple[Any, ...]:
    """Return the gradients of query, key, value and factors; the weights are computed again."""
    tokens, cut = query.shape[1], _cutter()
    given = _Given.of(query, key, value, out, level, upstream, rows)
    blocks, slices = given.query.shape[1] // rows, ops.shape(query)[0]
    modulation_of = _modulation(factors, rows)
    # as one slice: blocks are cut out of it as out of the others
    left, right = (_padded(factors[0][None], rows), factors[1]) if factors else (None, None)

    def block(index: Any, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        first = index * rows
        modulation = modulation_of(first)
        step = functools.partial(_gradients, given, first, rows, modulation)
        if modulation is None:
            return ops.fori_loop(0, slices, step, carry)
        *arrays, d_left, d_right = carry
        *arrays, found = ops.fori_loop(0, slices, step, (*arrays, ops.zeros_like(modulation)))
        add_right = ops.matmul(ops.transpose(found), cut(left, 0, first, rows))
        return *arrays, _put(d_left, 0, first, ops.matmul(found, right)), d_right + add_right

    alike = (given.query, given.key_t, given.value_t, *((left, right) if factors else ()))
    start = tuple(map(ops.zeros_like, alike))
    d_query, d_key, d_value, *rest = ops.fori_loop(0, blocks, block, start)
    d_factors = (rest[0][0, :tokens], rest[1]) if rest else ()
    return d_query[:, :tokens], _transposed(d_key), _transposed(d_value), *d_factors


def _gradients(
    given: _Given, first: Any, rows: int, modulation: Any, group: Any, carry: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Add what one block of one slice adds to the gradients."""
    d_query, d_key, d_value, *d_modulation = carry
    cut, keys, width = _cutter(), given.key.shape[1], given.query.shape[2]
    products = ops.matmul(cut(given.query, group, first, rows), cut(given.key_t, group, 0, width))
    weights = ops.exp(_times(products, modulation) - cut(given.level, group, first, rows))
    d_weights = ops.matmul(
        cut(given.upstream, group, first, rows),
        cut(given.value_t, group, 0, given.value_t.shape[1]),
    )
    d_logits = weights * (d_weights - cut(given.delta, group, first, rows))
    d_products = _times(d_logits, modulation)
    add_key = ops.matmul(_columns(cut, given.query_t, group, first, rows), d_products)
    add_value = ops.matmul(_columns(cut, given.upstream_t, group, first, rows), weights)
    add_query = ops.matmul(d_products, cut(given.key, group, 0, keys))
    return (
        _put(d_query, group, first, add_query),
        _put(d_key, group, 0, cut(d_key, group, 0, d_key.shape[1]) + add_key),
        _put(d_value, group, 0, cut(d_value, group, 0, d_value.shape[1]) + add_value),
        *(so_far + d_logits * products for so_far in d_modulation),
    )


def _modulation(factors: tuple[Any, ...], rows: int) -> Callable[[Any], Any]:
    """Return the modulation (rows, M) of the block that begins at a query, or None."""
    if not factors:
        return lambda first: None
    left, right_t, cut = _padded(factors[0][None], rows), ops.transpose(factors[1]), _cutter()
    return lambda first: ops.matmul(cut(left, 0, first, rows), right_t)


def _times(x: Any, modulation: Any) -> Any:
    return x if modulation is None else x * modulation


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
