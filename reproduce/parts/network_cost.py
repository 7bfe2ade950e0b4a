"""What a network costs: size and operations by counting, the rest from a run's record."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ppn_tf import complexity, models

#: Convergence: the first epoch whose validation loss is within this share of the best.
TOLERANCE = 0.01

#: Epochs of the runs that look for it.
LONG_RUN_EPOCHS = 100

#: Side of the patterns in pixels.
SIDE_PX = 32


@dataclasses.dataclass(frozen=True)
class Counts:
    """Size and operations of a network, which no training decides.

    Attributes
    ----------
    parameters : int
        All of them, BatchNorm statistics included.
    mib : float
        The same at 4 bytes each [MiB].
    gflops : float or None
        Operations of one inference [1e9]; None off TensorFlow, whose profiler counts.
    """

    parameters: int
    mib: float
    gflops: float | None


# a count takes seconds, and a figure asks for it more than once
@functools.cache
def counts(model: str) -> Counts:
    """Count parameters and operations of a network at 32 x 32 px.

    Parameters
    ----------
    model : str
        Name in `ppn_tf.models`, or that of an added network.

    Notes
    -----
    Attention is counted in its plain form, whose N x N matrices the profiler sees.
    """
    import keras

    network = _create(model)
    sizes = complexity.parameter_counts(network)
    gflops = None
    if keras.backend.backend() == "tensorflow":
        gflops = complexity.flops(network) / 1e9
    return Counts(sizes.total, sizes.mib, gflops)


def _create(model: str) -> Any:
    from reproduce import added

    shape = (SIDE_PX, SIDE_PX, 1)
    if model.startswith("custom:"):
        return added.build(model, shape)
    plain = {"attention_implementation": "plain"}
    options = plain if plain.keys() <= models.spec(model).options.keys() else {}
    return models.create(model, shape, **options)


def convergence_epoch(losses: Sequence[float], tolerance: float = TOLERANCE) -> int:
    """Return the first epoch, from 1, whose loss is within `tolerance` of the best.

    Parameters
    ----------
    losses : sequence of float
        Validation loss of every epoch, positive.
    tolerance : float
        Share of the best loss.
    """
    limit = min(losses) * (1 + tolerance)
    return 1 + next(index for index, loss in enumerate(losses) if loss <= limit)


@dataclasses.dataclass(frozen=True)
class Effort:
    """What one training took.

    Attributes
    ----------
    run : str
        Hash.
    epochs : int
        Epochs of the training.
    converged : int
        See `convergence_epoch`.
    seconds : float
        Median of an epoch, the first left out where there are more: it compiles.
    peak_mib : float or None
        Peak memory on the GPU, None where it is not known (`ResourceMonitor`); without a GPU
        the largest resident memory of the process.
    on_gpu : bool
        Which of the two.
    device : str
    """

    run: str
    epochs: int
    converged: int
    seconds: float
    peak_mib: float | None
    on_gpu: bool
    device: str


def effort(record: Mapping[str, Any]) -> Effort:
    """Read what a training took from its record."""
    spent = record["cost"]["epochs"]
    losses = [epoch["val_loss"] for epoch in record["results"]["history"]]
    seconds = [epoch["seconds"] for epoch in spent]
    device = record["environment"]["device"]
    on_gpu = not device.startswith("CPU")
    peaks = [epoch["gpu_peak_mib" if on_gpu else "peak_rss_mib"] for epoch in spent]
    return Effort(
        record["hash"],
        len(losses),
        convergence_epoch(losses),
        statistics.median(seconds[1:] or seconds),
        max((peak for peak in peaks if peak is not None), default=None),
        on_gpu,
        device,
    )
