"""Weights that depend on NumPy and on the variables' names alone."""

import zlib

import numpy as np


def seeded_weights(model, seed=0):
    """Give every weight non-trivial values, whatever Keras' initialisers do.

    Kernels are normal with the usual 1 / sqrt(fan in), so that signals keep their size;
    offsets are normal about 0, scales about 1, with deviation 0.1.
    """
    for weight in model.weights:
        rng = np.random.default_rng([seed, zlib.crc32(weight.path.encode())])
        shape = tuple(weight.shape)
        if weight.dtype in ("uint32", "int32"):  # state of a random generator
            continue
        if weight.name == "center":
            values = np.array([0.013, -0.021])
        elif weight.name == "moving_variance":
            values = rng.uniform(0.5, 1.5, shape)
        elif weight.name == "gamma":
            values = 1.0 + 0.1 * rng.standard_normal(shape)
        elif len(shape) < 2 or weight.name == "bias":
            values = 0.1 * rng.standard_normal(shape)
        else:
            values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        weight.assign(values.astype("float32"))
    return model
