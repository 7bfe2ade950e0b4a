"""Exact scaled-dot-product attention that never needs the whole N x N matrix.

Three implementations of ``softmax(scale * Q K^T) V``:

``plain``
    Matrix product, softmax, matrix product, with the N x N weights in memory.
``block``
    One head at a time, in blocks of queries whose logits stay within
    `BLOCK_ELEMENTS`, see `ppn_tf.layers.blockwise`. The forward pass keeps only the
    row-wise log-sum-exp; the backward pass computes the weights again from it.
    Memory is linear in N.
``fused``
    The backend's own kernel, through ``keras.ops.dot_product_attention``.

All three are exact; they differ in rounding only.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ppn_tf.errors import OptionError
from ppn_tf.layers.blockwise import block_attention

IMPLEMENTATIONS = ("auto", "plain", "block", "fused")

#: Logits held at once by ``block``: 4 MiB of float32, within a CPU's cache.
BLOCK_ELEMENTS = 2**20

#: Below this many tokens the N x N matrix of a batch is small: plain wins.
PLAIN_TOKENS = 256


def attend(
    query: Any,
    key: Any,
    value: Any,
    *,
    scale: float,
    implementation: str = "auto",
    modulation: tuple[Any, Any] | None = None,
) -> Any:
    """Return ``softmax(scale * (Q K^T) * M) V`` for every head.

    Parameters
    ----------
    query, key : (G, N, d) tensor
        One slice per batch element and head, G = batch x heads.
    value : (G, N, d_v) tensor
        d_v may differ from d.
    scale : float
        Factor on the logits. It is explicit because a modulation widens the
        features without changing d_k.
    implementation : str
        One of `IMPLEMENTATIONS`; ``auto`` takes ``plain`` for up to
        `PLAIN_TOKENS` tokens, else ``fused`` where JAX has an accelerator, else
        ``block``.
    modulation : tuple of (N, r) tensor, optional
        Factors of the matrix M that multiplies the logits of every head, their product
        over r; ones without it. ``block`` computes M block by block where r > 1, else
        features become r times as wide (`widened`).

    Returns
    -------
    (G, N, d_v) tensor

    Raises
    ------
    OptionError
        For an unknown implementation.
    """
    chosen = choose(implementation, query.shape[1])
    if modulation is not None and (chosen != "block" or modulation[0].shape[1] == 1):
        # of one factor, features keep their width: nothing is cheaper
        (query, key), modulation = widened(query, key, modulation), None
    if chosen == "block":
        return _block(query, key, value, scale, modulation)
    form = _plain if chosen == "plain" else _fused
    return form(query, key, value, scale)


def widened(query: Any, key: Any, modulation: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return features whose dot product is the modulated one.

    Parameters
    ----------
    query, key : (..., N, d) tensor
    modulation : tuple of (N, r) tensor

    Returns
    -------
    tuple of (..., N, r d) tensor
    """
    return tuple(
        ops.concatenate(
            [x * ops.cast(factor[:, k : k + 1], x.dtype) for k in range(factor.shape[1])], axis=-1
        )
        for x, factor in zip((query, key), modulation, strict=True)
    )


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


def _block(
    query: Any, key: Any, value: Any, scale: float, modulation: tuple[Any, Any] | None
) -> Any:
    half = value.dtype if _is_half(query) else None
    if half is not None:
        query, key, value = (ops.cast(x, "float32") for x in (query, key, value))
    if modulation is not None:
        modulation = tuple(ops.cast(x, query.dtype) for x in modulation)
    out = block_attention(query * scale, key, value, BLOCK_ELEMENTS, modulation)
    return out if half is None else ops.cast(out, half)
