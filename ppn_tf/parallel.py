"""One training on several devices: every batch is shared by all of them.

`keras.distribution.DataParallel` on JAX, `tf.distribute.MirroredStrategy` on TensorFlow.
Each device has all weights and a share of every batch; the gradient is that of the whole
batch, so that losses agree with one device to rounding, batch size and learning rate
included. Nothing is rescaled.

A batch that the devices cannot share evenly, such as the last one of an epoch, is repeated
until they can. Means, and so loss, gradient and BatchNorm, stay the same; the weight of that
batch in the mean loss of the epoch is put right by `TrueLosses`. On TensorFlow BatchNorm is
synchronised, and dropout is refused: each device would draw masks of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from ppn_tf.errors import DeviceError, OptionError


@dataclasses.dataclass(frozen=True)
class Sharing:
    """How a training is shared.

    Attributes
    ----------
    devices : int
        Number of devices, 1 for none of this.
    """

    devices: int

    def even(self, values: np.ndarray) -> np.ndarray:
        """Repeat a batch until its length is a multiple of the number of devices."""
        times = self.devices // math.gcd(len(values), self.devices)
        return values if times == 1 else np.concatenate([values] * times)

    def weight(self, count: int) -> int:
        """Return the length that `even` gives to a batch of `count`."""
        return count * (self.devices // math.gcd(count, self.devices))


@contextlib.contextmanager
def shared(model: keras.Model, devices: int) -> Iterator[keras.Model]:
    """Give a copy of a network that trains on several devices; its weights come back.

    Parameters
    ----------
    model : keras.Model
        From `ppn_tf.models.create`; uncompiled.
    devices : int
        How many, from the first on.

    Yields
    ------
    keras.Model
        A copy with the same variables; with one device `model` itself. When the context
        ends, also by an error, the variables of the copy are copied to `model`.

    Raises
    ------
    DeviceError
        If the backend has fewer devices.
    OptionError
        For a number below 1, or a network with dropout on TensorFlow.
    """
    if devices < 1:
        raise OptionError(f"--devices expects at least 1, received {devices}")
    if devices == 1:
        yield model
        return
    scope = _jax_scope if keras.backend.backend() == "jax" else _tensorflow_scope
    with scope(model, devices):
        copy = keras.Model.from_config(_shared_config(model))
        _copy_variables(model, copy)
        try:
            yield copy
        finally:
            _copy_variables(copy, model)


def _copy_variables(source: keras.Model, target: keras.Model) -> None:
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(keras.ops.convert_to_numpy(old))


def _shared_config(model: keras.Model) -> dict[str, Any]:
    config = model.get_config()
    if keras.backend.backend() == "tensorflow":
        for layer in config["layers"]:
            if layer["class_name"] == "BatchNormalization":
                layer["config"]["synchronized"] = True
    return config


@contextlib.contextmanager
def _jax_scope(model: keras.Model, devices: int) -> Iterator[None]:
    import jax

    # those from the one that `ppn_tf.devices.select_device` has chosen on
    first = jax.config.jax_default_device or jax.devices()[0]
    found = [each for each in jax.devices(first.platform) if each.id >= first.id]
    _enough(devices, [str(each) for each in found])
    distribution = keras.distribution.DataParallel(
        devices=[f"{device.platform}:{device.id}" for device in found[:devices]]
    )
    with distribution.scope():
        yield


@contextlib.contextmanager
def _tensorflow_scope(model: keras.Model, devices: int) -> Iterator[None]:
    import tensorflow as tf

    random = [layer.name for layer in model._flatten_layers() if getattr(layer, "rate", 0)]
    if random:
        raise OptionError(
            f"--devices {devices}: {model.name} has dropout ({random[0]}), for which every device "
            "would draw masks of its own on TensorFlow; use KERAS_BACKEND=jax or one device"
        )
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    found = [device.name for device in tf.config.list_logical_devices(kind)]
    _enough(devices, found)
    with tf.distribute.MirroredStrategy(found[:devices]).scope():
        yield


def _enough(devices: int, found: list[str]) -> None:
    if len(found) < devices:
        raise DeviceError(
            f"--devices {devices} was asked for, but {keras.backend.backend()} sees "
            f"{len(found)}: {', '.join(found)}"
        )


class TrueLosses(keras.callbacks.Callback):
    """Mean losses of an epoch in which a repeated last batch counts once.

    It changes ``loss`` and ``val_loss`` at the end of an epoch for the callbacks that follow
    in the list: it must be the first.

    Parameters
    ----------
    sharing : Sharing
    counts : dict of str to int
        Samples of the training (``"loss"``) and the validation (``"val_loss"``).
    batch_size : int
    """

    def __init__(self, sharing: Sharing, counts: dict[str, int], batch_size: int) -> None:
        super().__init__()
        self._sharing = sharing
        self._counts = counts
        self._batch_size = batch_size
        # of each mean, its value before the last batch
        self._before: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the running loss."""
        self._keep("loss", batch, logs)

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the running validation loss."""
        self._keep("val_loss", batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Put the means right."""
        for name, count in self._counts.items():
            logs[name] = self._true(name, count, float(logs[name]))

    def _keep(self, name: str, batch: int, logs: dict[str, float] | None) -> None:
        # the last but one: there is nothing to put right where there is one batch
        if batch == (self._counts[name] - 1) // self._batch_size - 1:
            # with a distribution strategy the logs are those of one device
            jax = keras.backend.backend() == "jax"
            means = logs if jax else self.model.get_metrics_result()
            self._before[name] = float(means["loss"])

    def _true(self, name: str, count: int, mean: float) -> float:
        full = (count - 1) // self._batch_size * self._batch_size
        last = count - full
        counted = self._sharing.weight(last)
        if full == 0 or counted == last:
            return mean
        # the running mean moved by counted / (full + counted) of the way to the last batch
        moved = (mean - self._before[name]) * (full + counted) / counted
        return self._before[name] + moved * last / count
