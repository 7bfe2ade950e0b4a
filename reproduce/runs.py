"""The run store: look a run up, or train it; resumable; with its provenance.

A finished run is ``results/runs/<hash>/<backend>.json``. Beside it lie the predictions
that figures draw (``<backend>.npz``, float16) and the trained network
(``<backend>.keras``), from which a run is evaluated again when an exhibit asks for
more. While a run is under way there is a checkpoint and a lock; both are gone, or
harmless, afterwards.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ppn_tf import devices, models, training, trivial
from ppn_tf.errors import RecordError
from ppn_tf.files import replacing, write_json
from ppn_tf.inference import Patches, predict
from ppn_tf.numerics import NUMERICS_VERSION
from ppn_tf.scaling import Scaling
from reproduce import added, paired, protocol, record_files
from reproduce.evaluate import EVALUATION_VERSION, Evaluation
from reproduce.protocol import Prepared
from reproduce.record_files import commit, read_record
from reproduce.specification import RunSpec, digest

#: Backends whose records are read, the first that has one.
BACKENDS = ("tensorflow", "jax", "torch")


class RunStore:
    """Records of finished runs in a folder.

    Parameters
    ----------
    folder : Path
        ``results/runs``; made when the first run is written.
    device : str
        Name of the device, for the records.
    deterministic : bool
        Train with deterministic kernels.
    tensorboard : bool
        Write TensorBoard logs to ``<hash>/tensorboard``.
    devices : int
        Devices that share every training.
    own_backend : bool
        Take no record of another backend for one's own. Otherwise a run that the active
        backend has not made counts as done where another one has: ``backends.py`` shows
        what the backend is worth.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "",
        deterministic: bool = False,
        tensorboard: bool = False,
        devices: int = 1,
        own_backend: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.own_backend = own_backend
        self.device = device
        self.deterministic = deterministic
        self.tensorboard = tensorboard
        self.devices = devices
        # now, since a run outlasts many a commit
        self.commit = commit()

    def path(self, spec: RunSpec, ending: str = "json") -> Path:
        """Return the path of one of the run's files."""
        return self.folder / spec.hash / f"{keras.backend.backend()}.{ending}"

    def find(self, spec: RunSpec) -> dict[str, Any] | None:
        """Return the record of a finished run, None if there is none.

        That of the active backend comes first; those of others go with it, for pairs on
        one backend. A damaged record is reported on standard error and counts as missing.
        """
        found = [record for record in map(_read, self._records(spec)) if record is not None]
        return paired.Finished.of(found[0], found[1:]) if found else None

    def beside(self, spec: RunSpec, ending: str) -> Path:
        """Return the path of a file of the backend whose record `find` gives."""
        own, *others = self._records(spec)
        record = next((path for path in (own, *others) if _read(path) is not None), own)
        return record.with_suffix(f".{ending}")

    def _records(self, spec: RunSpec) -> list[Path]:
        own = self.path(spec)
        others = [] if self.own_backend else [own.with_name(f"{name}.json") for name in BACKENDS]
        return [own, *(path for path in others if path != own)]

    def ensure(self, spec: RunSpec, *, retrain: bool = False, progress: bool = True) -> dict:
        """Return the run's record; train, resume or evaluate as needed.

        Parameters
        ----------
        spec : RunSpec
        retrain : bool
            Train although there is a record; it is replaced when the new run ends.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        dict
            The record.
        """
        record = None if retrain else self.current(spec)
        if record is not None:
            return record
        with record_files.lock(self.path(spec, "lock"), spec.label):
            # another process may have finished it while this one waited
            record = None if retrain else self.current(spec)
            return record or self._make(spec, retrain, progress)

    def current(self, spec: RunSpec) -> dict[str, Any] | None:
        """Return the record of a finished run; None also where it lacks what is asked of runs.

        That is the case of an older evaluation whose weights are there, or that needs
        none (trivial predictors): `ensure` evaluates such a run again, without training.
        """
        record = _read(self.path(spec))
        if record is None or record["evaluation_version"] >= EVALUATION_VERSION:
            return record or self.find(spec)
        again = spec.trivial is not None or self.path(spec, "keras").exists()
        # older, but nothing to evaluate it from: what it holds still counts
        return None if again else record

    def _make(self, spec: RunSpec, retrain: bool, progress: bool) -> dict[str, Any]:
        # a clock that cannot be set back
        started = time.monotonic()
        training.make_repeatable(spec.seed, self.deterministic)
        prepared = protocol.prepare(spec, self.folder.parent / "labels")
        made_by = {"environment": self.environment()}
        if spec.trivial is None and self._epochs_of_weights(spec, retrain) is not None:
            # where the numbers of training come from does not change with their evaluation
            trained_by = read_record(self.path(spec))["environment"]
            made_by = {"environment": trained_by, "evaluated_by": self.environment()}
        if spec.trivial is not None:
            fitted = _fit_trivial(spec, prepared)
        else:
            fitted = self._fit_network(spec, prepared, retrain, progress)
        predictor, network, described, epochs = fitted
        trained = time.monotonic()
        evaluation = protocol.score(predictor, network, prepared, spec)
        results = {
            "scaling": prepared.scaling.to_dict(),
            "train_patches": len(prepared.train),
            "validation_patches": len(prepared.validation),
            **described,
            **evaluation.results,
        }
        cost = {
            "epochs": [{k: e[k] for k in _COST_KEYS} for e in epochs],
            "train_seconds": round(sum(e["seconds"] for e in epochs), 1),
            "evaluate_seconds": round(time.monotonic() - trained, 1),
            "total_seconds": round(time.monotonic() - started, 1),
            "finished_utc": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"),
        }
        made_by["data"] = prepared.dataset.provenance
        return self._write(spec, evaluation, results, cost, made_by)

    def _fit_network(
        self, spec: RunSpec, prepared: Prepared, retrain: bool, progress: bool
    ) -> tuple[Any, keras.Model, dict[str, Any], list[dict[str, Any]]]:
        dataset, scaling = prepared.dataset, prepared.scaling
        if spec.custom:
            # reading its file draws from the same generator
            added.load(spec.model)
        training.seed_weights(spec.seed)
        model = _create(spec, (*dataset.patterns.shape[1:], 1), scaling)
        checkpoint = self.path(spec, "checkpoint.npz")
        epochs = self._epochs_of_weights(spec, retrain)
        if epochs is not None:
            model = record_files.load_network(
                self.path(spec, "keras"), _read(self.path(spec)) or {}
            )
        else:
            epochs = training.train(
                model,
                training.Samples.of(dataset, _one_epoch(spec, prepared.train), scaling),
                training.Samples.of(dataset, prepared.validation, scaling),
                spec.training,
                seed=spec.seed,
                checkpoint=checkpoint,
                label=spec.label if progress else None,
                tensorboard=checkpoint.with_name("tensorboard") if self.tensorboard else None,
                devices=self.devices,
            )
            with replacing(self.path(spec, "keras")) as temporary:
                without_optimizer(model).save(temporary)
        described = {
            "parameters": model.count_params(),
            "history": [{k: e[k] for k in _RESULT_KEYS if k in e} for e in epochs],
        }
        return (lambda patterns: predict(model, patterns)), model, described, epochs

    def _epochs_of_weights(self, spec: RunSpec, retrain: bool) -> list[dict[str, Any]] | None:
        """Return the epochs of a finished run that only wants evaluation."""
        record = _read(self.path(spec))
        if retrain or record is None or self.path(spec, "checkpoint.npz").exists():
            return None
        pairs = zip(record["results"]["history"], record["cost"]["epochs"], strict=True)
        return [{**result, **cost} for result, cost in pairs]

    def _write(
        self,
        spec: RunSpec,
        evaluation: Evaluation,
        results: dict[str, Any],
        cost: dict[str, Any],
        made_by: dict[str, Any],
    ) -> dict[str, Any]:
        record = {
            "spec": spec.to_dict(),
            "hash": spec.hash,
            "label": spec.label,
            "evaluation_version": EVALUATION_VERSION,
            "results": results,
            "results_digest": digest(results),
            "cost": cost,
            **made_by,
        }
        with replacing(self.path(spec, "npz")) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **evaluation.predictions)
        record["files"] = record_files.checksums(self.path(spec))
        record["digest"] = record_files.whole_digest(record)
        write_json(self.path(spec), record)
        self.path(spec, "checkpoint.npz").unlink(missing_ok=True)
        # as later calls find it: lists in place of tuples
        return read_record(self.path(spec))

    def receive(self, spec: RunSpec, files: Mapping[str, bytes], *, replace: bool = False) -> None:
        """Take over the files of a run that was made elsewhere.

        Parameters
        ----------
        spec : RunSpec
        files : mapping of str to bytes
            File name, without its folder, to content; the record among them.
        replace : bool
            Replace a record that is there; without it the run that came first stays.

        Raises
        ------
        RecordError
            If there is no record among the files, or it is damaged or that of another run.
        """
        path = self.path(spec)
        if path.name not in files:
            raise RecordError(f"expected {path.name} of {spec.label}, received {sorted(files)}")
        with record_files.lock(self.path(spec, "lock"), spec.label):
            if not replace and self.current(spec) is not None:
                return
            kept = [self.path(spec, ending) for ending in ("npz", "keras")]
            # the record last: where it lies, the run is whole
            for target in (*kept, path):
                if target.name not in files:
                    continue
                with replacing(target) as temporary:
                    temporary.write_bytes(files[target.name])
                    if target == path and read_record(temporary)["hash"] != spec.hash:
                        raise RecordError(f"expected the record of {spec.hash}, received another")

    def environment(self) -> dict[str, Any]:
        """Return what was used, for the record."""
        return {
            "backend": keras.backend.backend(),
            "device": self.device,
            "float32_products": devices.float32_products(),
            "deterministic": self.deterministic,
            "versions": devices.versions(),
            "commit": self.commit,
            "numerics_version": NUMERICS_VERSION,
        }


#: Entries of an epoch that timing and the machine decide, and those that the run decides.
_COST_KEYS = ("seconds", "rss_mib", "peak_rss_mib", "gpu_peak_mib", "process")
_RESULT_KEYS = ("epoch", "learning_rate", "loss", "val_loss", "centers")


def _read(path: Path) -> dict[str, Any] | None:
    """Return a record, None where there is none or where it is damaged, which is said."""
    if not path.exists():
        return None
    try:
        return read_record(path)
    except RecordError as error:
        print(f"warning: {error}; the run counts as missing", file=sys.stderr)
        return None


def _create(spec: RunSpec, input_shape: tuple[int, int, int], scaling: Scaling) -> keras.Model:
    if spec.custom:
        return added.build(spec.model, input_shape, scaling)
    return models.create(spec.model, input_shape, scaling=scaling, **dict(spec.options))


def _one_epoch(spec: RunSpec, indices: np.ndarray) -> np.ndarray:
    return np.resize(indices, spec.epoch_patches or len(indices))


def without_optimizer(model: keras.Model) -> keras.Model:
    """Return the network alone: the optimiser's moments are twice its size."""
    bare = keras.Model.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    return bare


def _fit_trivial(
    spec: RunSpec, prepared: Prepared
) -> tuple[Any, None, dict[str, Any], list[dict[str, Any]]]:
    scaling = prepared.scaling
    parts = [
        training.Samples.of(prepared.dataset, part, scaling)
        for part in (prepared.train, prepared.validation)
    ]
    known = [
        array
        for part in parts
        for array in (_scaled(part.patterns, scaling), part.amplitude, part.phase)
    ]

    def predictor(patterns: np.ndarray) -> Patches:
        return Patches(*trivial.predict(spec.trivial, *known, _scaled(patterns, scaling)))

    return predictor, None, {"parameters": 0, "history": []}, []


def _scaled(patterns: np.ndarray, scaling: Scaling) -> np.ndarray:
    low, high = scaling.input_range
    values = np.log1p(patterns) if scaling.transform == "log1p" else patterns
    return (values - low) / (high - low)
