"""One seed, several independent random streams.

A run has one integer seed. Every purpose draws from a stream of its own, so
that switching one source of randomness on or off leaves the others as they
were, and all methods that share a seed share validation split, batch order,
jitter and noise: that is what makes paired statistics paired.
"""

from __future__ import annotations

import numpy as np

from ppn_tf.errors import OptionError

#: Stream numbers. Append only: changing one changes every result.
STREAMS = {"jitter": 1, "noise": 2, "validation": 3, "order": 4, "weights": 5, "object": 6}


def generator(seed: int, purpose: str, *parts: int) -> np.random.Generator:
    """Return the random generator of one purpose.

    Parameters
    ----------
    seed : int
        The seed of the run, at least 0.
    purpose : str
        One of `STREAMS`.
    *parts : int
        Further numbers that select a stream, such as the epoch.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    OptionError
        For an unknown purpose or a negative seed.
    """
    if purpose not in STREAMS:
        raise OptionError(
            f"unknown random stream {purpose!r}: expected one of {', '.join(STREAMS)}"
        )
    if seed < 0:
        raise OptionError(f"seed must be at least 0, received {seed}")
    return np.random.default_rng([int(seed), STREAMS[purpose], *map(int, parts)])
