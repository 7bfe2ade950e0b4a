"""Parts of hierarchical transformers: overlapping patches, reduced attention, mixed FFN.

The encoder of SegFormer (Xie et al., NeurIPS 2021, arXiv:2105.15203) as two networks
use it: the SegFormer-style variant and PtychoFormer. Images stay (B, H, W, C).
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from ppn_tf.errors import OptionError
from ppn_tf.layers.attention import attend

#: What shares one draw of `StochasticDepth`.
MODES = ("sample", "batch")

#: Parameter of the cubic convolution kernel; -0.75 is PyTorch's.
CUBIC = -0.75


@keras.saving.register_keras_serializable("ppn_tf")
class StochasticDepth(keras.layers.Layer):
    """Drop a residual branch in training; the identity in inference.

    With probability `rate` the branch is replaced by zeros, else it is divided by
    ``1 - rate``, so that its expectation stays. No weights; the shape is kept.

    Parameters
    ----------
    rate : float
        Probability of dropping, in [0, 1).
    mode : {"sample", "batch"}
        Whether every image draws for itself, or the whole batch together.
    seed : int, optional
        Of the draws; from Keras' global seed by default.
    **kwargs
        Passed to `keras.layers.Layer`.

    Raises
    ------
    OptionError
        For a rate outside [0, 1) or an unknown mode.

    References
    ----------
    G. Huang et al., ECCV 2016, arXiv:1603.09382.
    """

    def __init__(
        self, rate: float, mode: str = "sample", seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise OptionError(f"{self.name}: rate must be in [0, 1), received {rate}")
        if mode not in MODES:
            raise OptionError(
                f"{self.name}: mode must be one of {', '.join(MODES)}, received {mode!r}"
            )
        self.rate = float(rate)
        self.mode = mode
        self.seed = seed
        if self.rate > 0.0:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Keep or drop (B, ...)."""
        if not training or self.rate == 0.0:
            return inputs
        count = ops.shape(inputs)[0] if self.mode == "sample" else 1
        shape = (count, *(1 for _ in inputs.shape[1:]))
        draws = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        kept = ops.cast(draws >= self.rate, inputs.dtype)
        return inputs * kept / (1.0 - self.rate)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "mode": self.mode,
            "seed": self.seed,
        }


def cubic_matrix(size: int, factor: int) -> np.ndarray:
    """Return the matrix that enlarges a line of pixels by cubic convolution.

    Pixel centres are at half-integers and pixels beyond the border repeat it, as in
    PyTorch's ``interpolate(mode="bicubic", align_corners=False)``.

    Parameters
    ----------
    size : int
        Pixels of the line.
    factor : int
        Magnification.

    Returns
    -------
    (size * factor, size) float32
        Each row sums to 1.

    References
    ----------
    R. Keys, IEEE Trans. ASSP 29, 1153 (1981), doi:10.1109/TASSP.1981.1163711
    """
    positions = (np.arange(size * factor) + 0.5) / factor - 0.5
    taps = np.floor(positions).astype(int)[:, None] + np.arange(-1, 3)
    x = np.abs(positions[:, None] - taps)
    near = (CUBIC + 2) * x**3 - (CUBIC + 3) * x**2 + 1
    far = CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
    matrix = np.zeros((size * factor, size))
    rows = np.broadcast_to(np.arange(size * factor)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, size - 1)), np.where(x <= 1, near, far))
    return matrix.astype(np.float32)


@keras.saving.register_keras_serializable("ppn_tf")
class BicubicUpsampling(keras.layers.Layer):
    """Enlarge images by cubic convolution: (B, H, W, C) -> (B, f H, f W, C); no weights.

    A product with a fixed matrix along each side (see `cubic_matrix`): TensorFlow's own
    bicubic operation has another kernel, no GPU form, and stops XLA.

    Parameters
    ----------
    factor : int
        Magnification f, at least 1.
    **kwargs
        Passed to `keras.layers.Layer`.

    Raises
    ------
    OptionError
        For a factor below 1.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if factor < 1:
            raise OptionError(f"{self.name}: factor must be at least 1, received {factor}")
        self.factor = int(factor)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Enlarge the images."""
        if self.factor == 1:
            return inputs
        rows, cols = (
            ops.convert_to_tensor(cubic_matrix(side, self.factor), dtype=inputs.dtype)
            for side in inputs.shape[1:3]
        )
        return ops.einsum("ih,bhwc,jw->bijc", rows, inputs, cols)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, H, W, C) -> (B, f H, f W, C)."""
        batch, height, width, channels = input_shape
        return batch, height * self.factor, width * self.factor, channels

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "factor": self.factor}


def drop_rates(largest: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Return the rates of `StochasticDepth` by stage and block, rising linearly from 0."""
    rates = np.linspace(0.0, largest, sum(depths))
    return [part.tolist() for part in np.split(rates, np.cumsum(depths)[:-1])]


def padded_conv(
    x: Any, filters: int, kernel_px: int, strides: int, name: str, **kwargs: Any
) -> Any:
    """Convolve (B, H, W, C) with zeros of half a kernel on all sides.

    With a stride, padding "same" would add them below and to the right only.
    """
    x = keras.layers.ZeroPadding2D(kernel_px // 2, name=f"{name}_pad")(x)
    return keras.layers.Conv2D(filters, kernel_px, strides=strides, name=name, **kwargs)(x)


@keras.saving.register_keras_serializable("ppn_tf")
class CrossAttention(keras.layers.Layer):
    """Multi-head attention from one set of tokens to another.

    Call arguments: queries (B, N, C), keys (B, M, C), which are the values too. Returns
    (B, N, C). Exact, with the N x M weights in memory: M is small after a reduction.

    Parameters
    ----------
    num_heads : int
        Number of heads; divides C.
    kernel_initializer, output_initializer
        Of the projections to queries, keys and values, and of the last one.
    **kwargs
        Passed to `keras.layers.Layer`.

    Raises
    ------
    OptionError
        If `num_heads` does not divide C.
    """

    def __init__(
        self,
        num_heads: int,
        kernel_initializer: Any = "glorot_uniform",
        output_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = int(num_heads)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(
        self, queries_shape: tuple[int | None, ...], keys_shape: tuple[int | None, ...]
    ) -> None:
        """Create the projections for (B, N, C) and (B, M, C)."""
        channels = queries_shape[-1]
        if self.num_heads < 1 or channels % self.num_heads:
            raise OptionError(
                f"{self.name}: num_heads must divide the channels, received "
                f"num_heads={self.num_heads}, shape {tuple(queries_shape)}"
            )
        self.query = self._projection(channels, self.kernel_initializer, "query")
        self.key = self._projection(channels, self.kernel_initializer, "key")
        self.value = self._projection(channels, self.kernel_initializer, "value")
        self.output_projection = self._projection(
            channels, self.output_initializer, "output_projection"
        )
        self.query.build(queries_shape)
        self.key.build(keys_shape)
        self.value.build(keys_shape)
        self.output_projection.build(queries_shape)

    def _projection(self, channels: int, initializer: Any, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(
            channels,
            # an initialiser without a seed must not be used twice
            kernel_initializer=initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, queries: Any, keys: Any) -> Any:
        """Attend from (B, N, C) to (B, M, C)."""
        channels = queries.shape[-1]
        attended = attend(
            self._heads(self.query(queries)),
            self._heads(self.key(keys)),
            self._heads(self.value(keys)),
            scale=(channels // self.num_heads) ** -0.5,
            implementation="plain",
        )
        tokens = queries.shape[1]
        width = channels // self.num_heads
        attended = ops.reshape(attended, (-1, self.num_heads, tokens, width))
        attended = ops.reshape(ops.transpose(attended, (0, 2, 1, 3)), (-1, tokens, channels))
        return self.output_projection(attended)

    def _heads(self, x: Any) -> Any:
        """(B, N, C) -> (B heads, N, C / heads)."""
        _, tokens, channels = x.shape
        width = channels // self.num_heads
        x = ops.transpose(ops.reshape(x, (-1, tokens, self.num_heads, width)), (0, 2, 1, 3))
        return ops.reshape(x, (-1, tokens, width))

    def compute_output_shape(
        self, queries_shape: tuple[int | None, ...], keys_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Return the shape of the queries."""
        return queries_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        serialize = keras.initializers.serialize
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "kernel_initializer": serialize(self.kernel_initializer),
            "output_initializer": serialize(self.output_initializer),
        }


def reduced_attention(
    x: Any,
    attention: CrossAttention,
    reduction: int,
    *,
    epsilon: float,
    reduce_always: bool = False,
    reducer_initializer: Any = "glorot_uniform",
) -> Any:
    """Attend from every pixel to an image reduced by a strided convolution.

    Parameters
    ----------
    x : (B, H, W, C) keras.KerasTensor
        Normalised input; H and W are multiples of `reduction`.
    attention : CrossAttention
        Its name is the prefix of the other layers' names.
    reduction : int
        Stride and side of the reducing convolution, which a LayerNorm follows.
    epsilon : float
        Of that LayerNorm.
    reduce_always : bool
        Reduce also where `reduction` is 1, by a 1x1 convolution.
    reducer_initializer
        Of the convolution.

    Returns
    -------
    (B, H, W, C) keras.KerasTensor
    """
    _, height, width, channels = x.shape
    name, keys, size = attention.name, x, height * width
    if reduction > 1 or reduce_always:
        keys = keras.layers.Conv2D(
            channels,
            reduction,
            strides=reduction,
            kernel_initializer=reducer_initializer,
            name=f"{name}_reducer",
        )(x)
        keys = keras.layers.LayerNormalization(epsilon=epsilon, name=f"{name}_reducer_norm")(keys)
        size //= reduction**2
    queries = keras.layers.Reshape((height * width, channels), name=f"{name}_queries")(x)
    keys = keras.layers.Reshape((size, channels), name=f"{name}_keys")(keys)
    return keras.layers.Reshape((height, width, channels), name=f"{name}_map")(
        attention(queries, keys)
    )


def uniform(variance: float) -> keras.initializers.Initializer:
    """Return the initialiser that draws uniformly about 0 with the given variance."""
    limit = math.sqrt(3.0 * variance)
    return keras.initializers.RandomUniform(-limit, limit)
