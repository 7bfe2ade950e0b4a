"""Callbacks: what a run costs, a plateau rule that can resume, a progress bar."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import keras
import numpy as np
import psutil
from tqdm import tqdm

from ppn_tf.errors import TrainingError


class ResourceMonitor(keras.callbacks.Callback):
    """Record time, memory and convergence of every epoch.

    This is the paper's "custom callback" (section IV-A1). `epochs` holds one dict per
    epoch: ``epoch`` (from 1), ``seconds``, ``learning_rate``, ``loss``, ``val_loss``,
    ``rss_mib`` and ``peak_rss_mib`` (resident memory at the end and the largest seen
    between batches), ``gpu_peak_mib`` (None without a GPU, and on JAX where the process
    needed more before this training: there the peak is that of the process), ``process``
    (counts the processes that shared the training: seconds of a resumed run add up, its
    peaks do not), and ``centers``, the learned centre (d_row, d_col) of every PoCA layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, Any]] = []
        self._process = psutil.Process()
        self._part = 0
        self._gpu_before_mib = 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Forget the GPU's peak of what ran before."""
        self._gpu_before_mib = forget_gpu_peak()

    def restore(self, epochs: list[dict[str, Any]]) -> None:
        """Continue the list of an interrupted run."""
        self.epochs = list(epochs)
        self._part = 1 + max((entry["process"] for entry in epochs), default=-1)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()
        self._peak = self._rss_mib()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the memory."""
        self._peak = max(self._peak, self._rss_mib())

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Append the epoch's figures."""
        rss_mib = self._rss_mib()
        convert_to_numpy = keras.ops.convert_to_numpy
        gpu_peak_mib = gpu_peak_memory_mib()
        if gpu_peak_mib is not None and gpu_peak_mib <= self._gpu_before_mib:
            gpu_peak_mib = None
        self.epochs.append(
            {
                "epoch": epoch + 1,
                "seconds": round(time.perf_counter() - self._start, 3),
                "learning_rate": float(convert_to_numpy(self.model.optimizer.learning_rate)),
                "loss": float((logs or {})["loss"]),
                "val_loss": float((logs or {})["val_loss"]),
                "rss_mib": round(rss_mib, 1),
                "peak_rss_mib": round(max(self._peak, rss_mib), 1),
                "gpu_peak_mib": None if gpu_peak_mib is None else round(gpu_peak_mib, 1),
                "process": self._part,
                "centers": self._centers(),
            }
        )

    def _centers(self) -> dict[str, list[float]]:
        layers = [layer for layer in self.model.layers if hasattr(layer, "center")]
        return {
            layer.name: [float(v) for v in keras.ops.convert_to_numpy(layer.center)]
            for layer in layers
            # BatchNormalization has a flag of this name
            if not isinstance(layer.center, bool)
        }

    def _rss_mib(self) -> float:
        return self._process.memory_info().rss / 2**20


def forget_gpu_peak() -> float:
    """Start a new peak of the memory on the first GPU; return what cannot be forgotten [MiB]."""
    if keras.backend.backend() == "jax":
        return gpu_peak_memory_mib() or 0.0
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")
    return 0.0


def gpu_peak_memory_mib() -> float | None:
    """Return the peak memory on the first visible GPU in MiB, None without one."""
    if keras.backend.backend() == "jax":
        import jax

        stats = jax.devices()[0].memory_stats() if jax.default_backend() == "gpu" else None
        return stats["peak_bytes_in_use"] / 2**20 if stats else None
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20


class ResumablePlateau(keras.callbacks.ReduceLROnPlateau):
    """`ReduceLROnPlateau` whose counters survive an interruption."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._restored: dict[str, Any] | None = None

    def state(self) -> dict[str, Any]:
        """Return the counters as plain values."""
        best = None if self.best is None else float(self.best)
        return {"best": best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def restore(self, state: dict[str, Any]) -> None:
        """Start the next training from these counters instead of fresh ones."""
        self._restored = state

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Reset the counters, or restore them."""
        super().on_train_begin(logs)
        if self._restored is not None:
            self.best = self._restored["best"]
            self.wait = self._restored["wait"]
            self.cooldown_counter = self._restored["cooldown_counter"]
            self._restored = None


class StopOnInterrupt(keras.callbacks.Callback):
    """Stop at the end of the batch in which Ctrl-C came; a second one stops at once.

    Raised in the midst of a batch, a ``KeyboardInterrupt`` is lost in a destructor or in a
    callback of the garbage collector (JAX has one), and while a graph is traced it leaves
    TensorFlow in disorder: another exception comes out, or the process hangs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    @classmethod
    @contextlib.contextmanager
    def listening(cls) -> Iterator[StopOnInterrupt]:
        """Give a callback that hears of Ctrl-C, unless the program handles that in its own way."""
        callback = cls()
        before = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if before is not signal.default_int_handler or not main:
            yield callback
            return
        signal.signal(signal.SIGINT, callback._interrupt)
        try:
            yield callback
        finally:
            signal.signal(signal.SIGINT, before)
        callback._stop()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            signal.default_int_handler(number, frame)
        self._asked = True
        # print may be what was interrupted, and refuses to be entered twice
        os.write(2, b"\nstopping after this batch (Ctrl-C again: at once)\n")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stop if asked to."""
        self._stop()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stop if asked to."""
        self._stop()

    def _stop(self) -> None:
        if self._asked:
            raise KeyboardInterrupt


class StopOnNaN(keras.callbacks.Callback):
    """Stop with an error that says where the loss stopped being a number."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Check the running loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {self._epoch + 1}, batch {batch + 1}; the last "
                f"finished epoch is kept. {self._where(logs or {})}Look at the input scaling or "
                "lower the learning rate"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Check the loss of the validation patches, which never improves on a NaN."""
        loss = (logs or {}).get("val_loss", 0.0)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the validation loss became {loss} in epoch {epoch + 1}; the epoch before it is "
                "kept. Look for NaN or infinite values in the validation patches and targets"
            )

    def _where(self, logs: dict[str, float]) -> str:
        """Say which output and which weights are concerned, and whether numbers are short."""
        outputs = [
            name.removesuffix("_loss")
            for name, value in logs.items()
            if name.endswith("_loss") and not math.isfinite(value)
        ]
        found = f"It began in the output {' and '.join(outputs)}. " if outputs else ""
        weights = [] if self.model is None else self.model.trainable_variables
        bad = [weight.path for weight in weights if not _finite(weight)]
        if bad:
            found += f"{len(bad)} of {len(weights)} weights are no numbers now, first {bad[0]}. "
        short = {str(layer.compute_dtype) for layer in getattr(self.model, "layers", ())}
        if "float16" in short:
            found += "float16 ends at 65504: bfloat16 or float32 does not. "
        return found


def _finite(variable: keras.Variable) -> bool:
    return bool(np.isfinite(np.asarray(keras.ops.convert_to_numpy(variable), "float32")).all())


class ProgressBar(keras.callbacks.Callback):
    """A bar over all steps of a training, with an estimate, on standard error.

    Parameters
    ----------
    label : str
        What is being trained.
    epochs, steps : int
        Epochs in all and steps per epoch.
    initial_epoch : int
        Epochs that an interrupted run finished before.
    """

    def __init__(self, label: str, epochs: int, steps: int, initial_epoch: int = 0) -> None:
        super().__init__()
        self._label = label
        self._epochs, self._steps, self._initial = epochs, steps, initial_epoch
        self._bar: tqdm | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Open the bar."""
        self._bar = tqdm(
            total=self._epochs * self._steps,
            initial=self._initial * self._steps,
            desc=self._label,
            unit="step",
            mininterval=1.0,
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Advance."""
        self._bar.update(1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Show the losses."""
        logs = logs or {}
        self._bar.set_postfix(
            epoch=f"{epoch + 1}/{self._epochs}",
            loss=f"{logs['loss']:.4f}",
            val_loss=f"{logs['val_loss']:.4f}",
        )

    def close(self) -> None:
        """Close the bar, also after an interruption."""
        if self._bar is not None:
            self._bar.close()
