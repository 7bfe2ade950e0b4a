"""Polar Coordinate Attention (PoCA) and plain self-attention over pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from ppn_tf.errors import OptionError
from ppn_tf.layers.attention import attend, choose

RADIAL = ("paper", "released", "none")

#: Forms of the attention that leave one part of it out, as arguments that differ.
VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "poca": {},
        "poca-fixed": {"learn_center": False},
        "poca-no-radial": {"radial": "none"},
        "poca-no-angular": {"angular": False},
    }
)

#: Below this distance (px) a pixel is the centre and its angle is undefined.
CENTER_RADIUS_PX = 1e-6


@keras.saving.register_keras_serializable("ppn_tf")
class PixelSelfAttention(keras.layers.Layer):
    """Multi-head self-attention in which every pixel is a token.

    This is the "MHSA in NLB" of the paper's ablation (Table II) and the base of
    `PolarCoordinateAttention`.

    Parameters
    ----------
    num_heads : int
        Number of heads h; divides `embed_dim`.
    embed_dim : int
        Width of the output; d_k = d_v = embed_dim / num_heads.
    implementation : str
        ``"auto"``, ``"plain"``, ``"block"`` or ``"fused"``, see
        `ppn_tf.layers.attention`.

    Notes
    -----
    Call arguments: inputs (B, H, W, C) float. Returns (B, H, W, embed_dim).

    Raises
    ------
    OptionError
        If a number is not positive, `num_heads` does not divide `embed_dim`, or
        the implementation is unknown.
    """

    def __init__(
        self, num_heads: int, embed_dim: int, implementation: str = "auto", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise OptionError(
                "num_heads must divide embed_dim, both positive, received "
                f"num_heads={num_heads}, embed_dim={embed_dim}"
            )
        choose(implementation, 1)
        self.num_heads = int(num_heads)
        self.embed_dim = int(embed_dim)
        self.implementation = implementation

    @property
    def key_dim(self) -> int:
        """Width of one head, d_k."""
        return self.embed_dim // self.num_heads

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the projections for inputs (B, H, W, C)."""
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise OptionError(
                f"{type(self).__name__} expects inputs (B, H, W, C) with fixed H, W, C, "
                f"received shape {tuple(input_shape)}"
            )
        self.projection = keras.layers.Dense(
            3 * self.embed_dim, dtype=self.dtype_policy, name="query_key_value"
        )
        self.projection.build(input_shape)
        self.output_projection = keras.layers.Dense(
            self.embed_dim, dtype=self.dtype_policy, name="output_projection"
        )
        self.output_projection.build((*input_shape[:-1], self.embed_dim))
        self.built = True

    def heads(self, inputs: Any) -> tuple[Any, Any, Any]:
        """Project inputs to queries, keys and values, (B, h, N, d_k) each."""
        height, width = inputs.shape[1:3]
        x = self.projection(inputs)
        x = ops.reshape(x, (-1, height * width, 3, self.num_heads, self.key_dim))
        query, key, value = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3, axis=0)
        return query, key, value

    def modulation(self, height: int, width: int) -> tuple[Any, Any] | None:
        """Return the factors (H W, r) of what multiplies the logits: nothing here."""
        return None

    def call(self, inputs: Any) -> Any:
        """Attend over all pixels of each image."""
        height, width = inputs.shape[1:3]
        out = self.attended(*self.heads(inputs), height, width)
        out = ops.reshape(ops.transpose(out, (0, 2, 1, 3)), (-1, height, width, self.embed_dim))
        return self.output_projection(out)

    def attended(self, query: Any, key: Any, value: Any, height: int, width: int) -> Any:
        """Attend with queries, keys and values (B, h, N, d_k); return (B, h, N, d_k)."""
        tokens = height * width
        out = attend(
            *(ops.reshape(x, (-1, tokens, x.shape[-1])) for x in (query, key, value)),
            scale=1.0 / math.sqrt(self.key_dim),
            implementation=self.implementation,
            modulation=self.modulation(height, width),
        )
        return ops.reshape(out, (-1, self.num_heads, tokens, self.key_dim))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, H, W, C) -> (B, H, W, embed_dim)."""
        return (*input_shape[:-1], self.embed_dim)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "embed_dim": self.embed_dim,
            "implementation": self.implementation,
        }


@keras.saving.register_keras_serializable("ppn_tf")
class PolarCoordinateAttention(PixelSelfAttention):
    """Self-attention whose logits carry radial and angular weights (PoCA).

    The logits ``Q K^T / sqrt(d_k)`` are multiplied, before the softmax, by a
    radial weight of the key and by ``cos(theta_query - theta_key)``, both in
    polar coordinates about a learned centre (Eqs. 4-8 of the paper).

    Parameters
    ----------
    num_heads, embed_dim, implementation
        As in `PixelSelfAttention`.
    radial : str
        ``"paper"``: ``w = 1 / (1 + rho)`` with the normalised logarithmic radius
        ``rho = ln(1 + r) / ln(1 + r_max)`` in [0, 1]. ``"released"``: the authors'
        code, ``rho = ln(r + 1e-6) / ln(r_max)``, which has a pole near r = 1 / r_max
        px and is negative at the centre pixel. ``"none"``: 1 everywhere.
    learn_center : bool
        If False the centre is a counted weight that gets no gradient, as in the
        authors' code.
    angular : bool
        If False the angular weight is 1 everywhere.

    Notes
    -----
    The weight ``center`` holds two numbers (d_row, d_col), initially 0; the centre is
    the pixel ``(H / 2 + d_row H, W / 2 + d_col W)``. Since cos(a - b) = cos a cos b +
    sin a sin b and the radial weight belongs to the key, the modulation has two factors of
    width 2, and the modulated logits are an ordinary dot product of doubled features
    ``[q cos, q sin] . [k w cos, k w sin]``: any exact attention kernel applies and no N x N
    weight matrix is needed; only ``implementation="plain"`` forms them, as the authors' code
    does. The
    equations themselves are missing from our text of the paper; the choice of the
    radius is ours where the text is silent.

    At a pixel closer than `CENTER_RADIUS_PX` to the centre the direction is
    (cos, sin) = (1, 0), as atan2(0, 0) has it, so that the brightest key keeps its
    logit. A double ``where`` keeps the gradients finite there.
    """

    def __init__(
        self,
        num_heads: int,
        embed_dim: int,
        radial: str = "paper",
        learn_center: bool = True,
        implementation: str = "auto",
        angular: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_heads, embed_dim, implementation, **kwargs)
        if radial not in RADIAL:
            raise OptionError(
                f"unknown radial weight {radial!r}: expected one of {', '.join(RADIAL)}"
            )
        self.radial = radial
        self.learn_center = bool(learn_center)
        self.angular = bool(angular)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the projections and the centre."""
        super().build(input_shape)
        # never half precision: the steps of the centre are far below its resolution
        self.center = self.add_weight(
            name="center",
            shape=(2,),
            initializer="zeros",
            dtype="float64" if self.variable_dtype == "float64" else "float32",
            autocast=False,
        )

    def polar_weights(self, height: int, width: int) -> tuple[Any, Any, Any]:
        """Return radial weight, cosine and sine of every pixel, (H W,) each."""
        center = self.center if self.learn_center else ops.stop_gradient(self.center)
        center = ops.convert_to_tensor(center)
        rows, cols = np.indices((height, width), dtype=self.center.dtype).reshape(2, -1)
        d_row = rows - (0.5 + center[0]) * height
        d_col = cols - (0.5 + center[1]) * width
        squared = d_row**2 + d_col**2
        at_center = squared < CENTER_RADIUS_PX**2
        radius = ops.sqrt(ops.where(at_center, 1.0, squared))
        cosine = ops.where(at_center, 1.0, d_col / radius)
        sine = ops.where(at_center, 0.0, d_row / radius)
        return self.radial_weight(ops.where(at_center, 0.0, radius), height, width), cosine, sine

    def radial_weight(self, radius_px: Any, height: int, width: int) -> Any:
        """Return the weight of keys at `radius_px` from the centre."""
        if self.radial == "none":
            return ops.ones_like(radius_px)
        largest_px = math.hypot(height / 2, width / 2)
        if self.radial == "paper":
            return 1.0 / (1.0 + ops.log1p(radius_px) / math.log1p(largest_px))
        return 1.0 / (1.0 + ops.log(radius_px + 1e-6) / math.log(largest_px))

    def modulation(self, height: int, width: int) -> tuple[Any, Any]:
        """Return factors of queries and keys, (H W, 2): w cos(a - b) is their dot product."""
        weight, cosine, sine = self.polar_weights(height, width)
        if not self.angular:
            weight = ops.expand_dims(weight, -1)
            return ops.ones_like(weight), weight
        directions = ops.stack([cosine, sine], axis=-1)
        return directions, directions * ops.expand_dims(weight, -1)

    def attended(self, query: Any, key: Any, value: Any, height: int, width: int) -> Any:
        """Attend as the base class does, or with explicit N x N weights for "plain"."""
        if choose(self.implementation, height * width) != "plain":
            return super().attended(query, key, value, height, width)
        weight, cosine, sine = self.polar_weights(height, width)
        logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        logits = ops.cast(logits, weight.dtype) / math.sqrt(self.key_dim) * weight
        if self.angular:
            angle = ops.arctan2(sine, cosine)
            logits = logits * ops.cos(ops.expand_dims(angle, 1) - angle)
        weights = ops.softmax(logits)
        return ops.matmul(ops.cast(weights, value.dtype), value)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "radial": self.radial,
            "learn_center": self.learn_center,
            "angular": self.angular,
        }
