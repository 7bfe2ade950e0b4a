"""Train a network: Adam, plateau rule, checkpoints from which a run resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ppn_tf import losses, parallel, tracing
from ppn_tf.callbacks import (
    ProgressBar,
    ResourceMonitor,
    ResumablePlateau,
    StopOnInterrupt,
    StopOnNaN,
)
from ppn_tf.checkpoint import Checkpoint, fingerprint, read_checkpoint
from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import DataError, OptionError
from ppn_tf.numerics import NUMERICS_VERSION
from ppn_tf.scaling import Scaling
from ppn_tf.seeding import generator


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained (section IV-A1 of the paper).

    Attributes
    ----------
    epochs : int
        Passes over the training patches.
    batch_size : int
        Patches per step; the last batch of an epoch may be smaller.
    learning_rate : float
        Of Adam at the start. The paper prints 1.0, an exponent is lost; the authors'
        code has 1e-3.
    plateau_factor, plateau_patience, min_learning_rate
        Of ReduceLROnPlateau on the validation loss.
    plateau_min_delta : float
        Smallest change that counts as an improvement: the default of Keras, which the
        authors' code uses. It is as large as the plateau rule's effect late in training.
    loss : str
        Name of the loss on each output, see `ppn_tf.losses`; the total is their sum
        (Eq. 12).
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    plateau_factor: float = 0.5
    plateau_patience: int = 2
    min_learning_rate: float = 1e-4
    plateau_min_delta: float = 1e-4
    loss: str = "mse"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, received {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise OptionError(f"learning_rate must be positive, received {self.learning_rate}")
        # refuses what is no loss, before anything is loaded or trained
        losses.create(self.loss)


@dataclasses.dataclass(frozen=True)
class Samples:
    """Patterns and targets as a network takes them.

    Attributes
    ----------
    patterns : (N, H, W, 1) float32
        Raw counts.
    amplitude, phase : (N, H, W, 1) float32
        On the [0, 1] target scale.
    """

    patterns: np.ndarray
    amplitude: np.ndarray
    phase: np.ndarray

    @classmethod
    def of(cls, dataset: Dataset, indices: np.ndarray, scaling: Scaling) -> Samples:
        """Take `indices` of a data set, targets scaled by `scaling`."""
        if len(indices) == 0:
            raise DataError("expected at least one patch, received an empty selection")
        return cls(
            dataset.patterns[indices][..., None],
            scaling.target_amplitude(dataset.amplitude[indices])[..., None],
            scaling.target_phase(dataset.phase[indices])[..., None],
        )

    def __len__(self) -> int:
        return len(self.patterns)

    @property
    def targets(self) -> dict[str, np.ndarray]:
        """The two targets by output name."""
        return {"amplitude": self.amplitude, "phase": self.phase}


class Batches(keras.utils.PyDataset):
    """Batches in an order that depends on seed and epoch alone.

    Parameters
    ----------
    samples : Samples
    batch_size : int
    seed : int
        Seed of the run; methods that share it see the patches in the same order.
    epoch : int
        Number of the first epoch, above 0 where a run resumes.
    sharing : Sharing, optional
        Among several devices.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        sharing: parallel.Sharing | None = None,
    ) -> None:
        super().__init__()
        self._sharing = sharing or parallel.Sharing(1)
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self._start_epoch(epoch)

    def _start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        order = generator(self._seed, "order", epoch)
        self._order = order.permutation(len(self._samples))

    def __len__(self) -> int:
        return math.ceil(len(self._samples) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return patterns and targets of one batch."""
        start = index * self._batch_size
        chosen = self._sharing.even(self._order[start : start + self._batch_size])
        targets = {name: values[chosen] for name, values in self._samples.targets.items()}
        return self._samples.patterns[chosen], targets

    def on_epoch_end(self) -> None:
        """Draw the next epoch's order."""
        self._start_epoch(self._epoch + 1)

    def close(self) -> None:
        """Let go of the samples: TensorFlow keeps the generator that draws from them."""
        self._samples = None


def make_repeatable(seed: int, deterministic: bool = False) -> None:
    """Seed everything that draws weights and dropout masks.

    Parameters
    ----------
    seed : int
        Seed of the run.
    deterministic : bool
        Also ask TensorFlow for deterministic kernels. That turns XLA off, and cannot be
        undone within a process.
    """
    seed_weights(seed)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def seed_weights(seed: int) -> None:
    """Seed what draws weights and dropout masks; call it right before a network is created.

    Keras draws the seeds of initialisers and dropout from Python's one global generator, so
    that whatever else draws from that generator in between would change the network.
    """
    # a stream of its own, so that weights do not depend on how much else was drawn
    keras.utils.set_random_seed(int(generator(seed, "weights").integers(2**31)))


def train(
    model: keras.Model,
    training: Samples,
    validation: Samples,
    config: TrainingConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    label: str | None = None,
    tensorboard: Path | None = None,
    devices: int = 1,
) -> list[dict[str, Any]]:
    """Train `model` in place and return what every epoch gave and cost.

    Parameters
    ----------
    model : keras.Model
        From `ppn_tf.models.create`.
    training, validation : Samples
        Patches to fit, and patches for the plateau rule.
    config : TrainingConfig
    seed : int
        Decides the order of the batches.
    checkpoint : Path, optional
        File written after every epoch, from which the same training (or longer) goes on.
    label, tensorboard : optional
        Name of a progress bar on standard error; folder for TensorBoard logs.
    devices : int
        That share every batch, see `ppn_tf.parallel`.

    Returns
    -------
    list of dict
        One per epoch, see `ResourceMonitor`.

    Raises
    ------
    TrainingError
        If the loss stops being finite.
    RecordError
        If the checkpoint cannot be written, or belongs to another training.
    DeviceError, OptionError
        If the devices are not there, or cannot share it.
    """
    sharing, plateau, monitor = parallel.Sharing(devices), _plateau(config), ResourceMonitor()
    task = _task(training, validation, config, seed) if checkpoint else {}
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(parallel.shared(model, devices))
        _compile(model, config, devices)
        epoch = _resume(model, checkpoint, task, plateau, monitor)
        batches = Batches(training, config.batch_size, seed, epoch, sharing)
        stack.callback(batches.close)
        interrupt = stack.enter_context(StopOnInterrupt.listening())
        callbacks = [*_true_losses(training, validation, config, sharing), interrupt, StopOnNaN()]
        callbacks += [plateau, monitor, *_writers(checkpoint, task, tensorboard, plateau, monitor)]
        if label is not None:
            bar = ProgressBar(label, config.epochs, len(batches), epoch)
            callbacks.append(stack.enter_context(contextlib.closing(bar)))
        _fit(model, batches, validation, config, callbacks, epoch, sharing)
    return monitor.epochs


def _task(
    training: Samples, validation: Samples, config: TrainingConfig, seed: int
) -> dict[str, Any]:
    """Return what decides a training besides the network; more epochs are no other one."""
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k != "epochs"}
    data = {
        f"{part}_{field.name}": fingerprint(getattr(samples, field.name))
        for part, samples in (("training", training), ("validation", validation))
        for field in dataclasses.fields(Samples)
    }
    return {**settings, **data, "seed": seed, "numerics_version": NUMERICS_VERSION}


def _writers(
    checkpoint: Path | None,
    task: dict[str, Any],
    tensorboard: Path | None,
    plateau: ResumablePlateau,
    monitor: ResourceMonitor,
) -> Iterator[keras.callbacks.Callback]:
    if checkpoint is not None:
        yield Checkpoint(checkpoint, task, plateau, monitor)
    if tensorboard is not None:
        yield keras.callbacks.TensorBoard(str(tensorboard))


def _true_losses(
    training: Samples, validation: Samples, config: TrainingConfig, sharing: parallel.Sharing
) -> Iterator[keras.callbacks.Callback]:
    if sharing.devices > 1:
        counts = {"loss": len(training), "val_loss": len(validation)}
        yield parallel.TrueLosses(sharing, counts, config.batch_size)


def _compile(model: keras.Model, config: TrainingConfig, devices: int = 1) -> None:
    # the two losses are summed: Eq. (12)
    model.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss={name: losses.create(config.loss) for name in ("amplitude", "phase")},
        # XLA cannot add up gradients of several devices on TensorFlow
        jit_compile="auto" if devices == 1 or keras.backend.backend() == "jax" else False,
    )


def _plateau(config: TrainingConfig) -> ResumablePlateau:
    return ResumablePlateau(
        monitor="val_loss",
        factor=config.plateau_factor,
        patience=config.plateau_patience,
        min_lr=config.min_learning_rate,
        min_delta=config.plateau_min_delta,
    )


def _resume(
    model: keras.Model,
    checkpoint: Path | None,
    task: dict[str, Any],
    plateau: ResumablePlateau,
    monitor: ResourceMonitor,
) -> int:
    """Return how many epochs the checkpoint holds, after putting it in place."""
    if checkpoint is None or not checkpoint.exists():
        return 0
    state = read_checkpoint(checkpoint, model, task)
    plateau.restore(state["plateau"])
    monitor.restore(state["epochs"])
    return len(state["epochs"])


def _fit(
    model: keras.Model,
    batches: Batches,
    validation: Samples,
    config: TrainingConfig,
    callbacks: list[keras.callbacks.Callback],
    epoch: int,
    sharing: parallel.Sharing,
) -> None:
    if epoch >= config.epochs:
        return
    with tracing.graphs_released():
        model.fit(
            batches,
            **_validation(validation, config.batch_size, sharing),
            initial_epoch=epoch,
            epochs=config.epochs,
            callbacks=callbacks,
            # the default reorders the batches by a global random state
            shuffle=False,
            verbose=0,
        )


class _InTurn(Batches):
    """Batches in the order in which the samples stand."""

    def _start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._order = np.arange(len(self._samples))


def _validation(validation: Samples, batch_size: int, sharing: parallel.Sharing) -> dict[str, Any]:
    if sharing.devices == 1:
        return {
            "validation_data": (validation.patterns, validation.targets),
            "validation_batch_size": batch_size,
        }
    return {"validation_data": _InTurn(validation, batch_size, 0, 0, sharing)}
