"""Exact scaled-dot-product attention that never needs the whole N x N matrix.

Three implementations of ``softmax(scale * Q K^T) V``:

``plain``
    Matrix product, softmax, matrix product, with the N x N weights in memory.
``block``
    One head at a time, in blocks of queries whose logits stay within
    `BLOCK_ELEMENTS`. The forward pass keeps only the row-wise log-sum-exp; the
    backward pass computes the weights again from it. Memory is linear in N.
``fused``
    The backend's own kernel, through ``keras.ops.dot_product_attention``.

All three are exact; they differ in rounding only.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ppn_tf.errors import OptionError

IMPLEMENTATIONS = ("auto", "plain", "block", "fused")

#: Logits held at once by ``block``: 4 MiB of float32, within a CPU's cache.
BLOCK_ELEMENTS = 2**20

#: Below this many tokens the N x N matrix of a batch is small: plain wins.
PLAIN_TOKENS = 256


def attend(query: Any, key: Any, value: Any, *, scale: float, implementation: str = "auto") -> Any:
    """Return ``softmax(scale * Q K^T) V`` for every head.

    Parameters
    ----------
    query, key : (G, N, d) tensor
        One slice per batch element and head, G = batch x heads.
    value : (G, N, d_v) tensor
        d_v may differ from d.
    scale : float
        Factor on the logits. It is explicit because PoCA doubles the feature
        width without changing d_k.
    implementation : str
        One of `IMPLEMENTATIONS`; ``auto`` takes ``plain`` for up to
        `PLAIN_TOKENS` tokens, else ``fused`` where JAX has an accelerator, else
        ``block``.

    Returns
    -------
    (G, N, d_v) tensor

    Raises
    ------
    OptionError
        For an unknown implementation.
    """
    chosen = choose(implementation, query.shape[1])
    if chosen == "plain":
        return _plain(query, key, value, scale)
    if chosen == "fused":
        return _fused(query, key, value, scale)
    return _block(query, key, value, scale)


def choose(implementation: str, tokens: int) -> str:
    """Return the implementation that ``auto`` stands for, else the one given."""
    if implementation not in IMPLEMENTATIONS:
        raise OptionError(
            f"unknown attention implementation {implementation!r}: expected one of "
            f"{', '.join(IMPLEMENTATIONS)}"
        )
    if implementation != "auto":
        return implementation
    if tokens <= PLAIN_TOKENS:
        return "plain"
    return "fused" if _jax_accelerator() else "block"


def _jax_accelerator() -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() != "cpu"


def _transposed(x: Any) -> Any:
    return ops.transpose(x, (0, 2, 1))


def _plain(query: Any, key: Any, value: Any, scale: float) -> Any:
    logits = ops.matmul(query, _transposed(key)) * scale
    # the softmax stays float32 under mixed precision
    weights = ops.softmax(ops.cast(logits, "float32") if _is_half(logits) else logits)
    return ops.matmul(ops.cast(weights, value.dtype), value)


def _is_half(x: Any) -> bool:
    return keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16")


def _fused(query: Any, key: Any, value: Any, scale: float) -> Any:
    width, value_width = query.shape[-1], value.shape[-1]
    # kernels want one width: zero columns change neither logits nor output
    padded = ops.pad(value, ((0, 0), (0, 0), (0, width - value_width)))
    out = ops.dot_product_attention(
        *(ops.expand_dims(x, 2) for x in (query, key, padded)), scale=scale
    )
    return ops.squeeze(out, 2)[..., :value_width]


def _block(query: Any, key: Any, value: Any, scale: float) -> Any:
    half = value.dtype if _is_half(query) else None
    if half is not None:
        query, key, value = (ops.cast(x, "float32") for x in (query, key, value))
    out = _block_attention(query * scale, key, value)
    return out if half is None else ops.cast(out, half)


def _ones_column(x: Any) -> Any:
    return ops.ones_like(x[..., :1])


def _append(x: Any, column: Any) -> Any:
    return ops.concatenate([x, column], axis=-1)


def _forward_block(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    """Attention of a block of queries and its log-sum-exp, (b, n, .)."""
    logits = ops.matmul(query, _transposed(key))
    top = ops.max(logits, axis=-1, keepdims=True)
    # a column of ones in V makes the product sum the weights in the same pass
    out = ops.matmul(ops.exp(logits - top), _append(value, _ones_column(value)))
    total = out[..., -1:]
    return out[..., :-1] / total, top + ops.log(total)


def _backward_block(
    query: Any, key: Any, value: Any, out: Any, lse: Any, upstream: Any
) -> tuple[Any, Any, Any]:
    """Gradients of a block of queries; the weights are computed again.

    Those of key and value come transposed, (b, d, N): products that read the large
    matrices row by row, which is faster on a CPU than turning them.
    """
    # one more column subtracts the log-sum-exp, and delta, inside the product
    logits = ops.matmul(_append(query, -lse), _transposed(_append(key, _ones_column(key))))
    weights = ops.exp(logits)
    delta = ops.sum(upstream * out, axis=-1, keepdims=True)
    d_weights = ops.matmul(
        _append(upstream, -delta), _transposed(_append(value, _ones_column(value)))
    )
    d_logits = weights * d_weights
    return (
        ops.matmul(d_logits, key),
        ops.matmul(_transposed(query), d_logits),
        ops.matmul(_transposed(upstream), weights),
    )


def block_rows(tokens: int) -> int:
    """Queries per block: a divisor of `tokens` that keeps to `BLOCK_ELEMENTS`."""
    limit = max(1, BLOCK_ELEMENTS // tokens)
    return next(rows for rows in range(min(limit, tokens), 0, -1) if tokens % rows == 0)


def _split(x: Any, rows: int) -> Any:
    """(N, d) -> (N / rows, 1, rows, d)."""
    return ops.reshape(x, (-1, 1, rows, x.shape[-1]))


def _head_forward(arrays: tuple[Any, ...]) -> tuple[Any, Any]:
    query, key, value = arrays
    rows = block_rows(query.shape[0])
    key, value = key[None], value[None]
    if rows == query.shape[0]:
        out, lse = _forward_block(query[None], key, value)
    else:
        out, lse = ops.map(lambda q: _forward_block(q, key, value), _split(query, rows))
    tokens = query.shape[0]
    return ops.reshape(out, (tokens, value.shape[-1])), ops.reshape(lse, (tokens, 1))


def _head_backward(arrays: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    query, key, value, *others = arrays
    rows = block_rows(query.shape[0])
    if rows == query.shape[0]:
        grads = _backward_block(*(x[None] for x in arrays))
        return tuple(x[0] for x in grads)
    key, value = key[None], value[None]
    blocks = tuple(_split(x, rows) for x in (query, *others))

    # not ops.scan: on TensorFlow it wants outputs of the carry's shape
    def step(index: Any, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        q, out, lse, upstream = (ops.take(x, index, axis=0) for x in blocks)
        d_query, d_key, d_value = _backward_block(q, key, value, out, lse, upstream)
        place = ops.reshape(index, (1, 1))
        return (
            ops.scatter_update(carry[0], place, d_query[None]),
            carry[1] + d_key,
            carry[2] + d_value,
        )

    start = tuple(map(ops.zeros_like, (blocks[0], _transposed(key), _transposed(value))))
    d_query, d_key, d_value = ops.fori_loop(0, blocks[0].shape[0], step, start)
    return ops.reshape(d_query, query.shape), d_key[0], d_value[0]


@ops.custom_gradient
def _block_attention(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    out, lse = ops.map(_head_forward, (query, key, value))

    def grad(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
        # TensorFlow passes the upstream gradient by position, as JAX does
        d_out = args[0] if upstream is None else upstream
        d_query, d_key, d_value = ops.map(_head_backward, (query, key, value, out, lse, d_out))
        # turned out here, where it is small: inside, XLA would move it into the product
        return d_query, _transposed(d_key), _transposed(d_value)

    return out, grad
