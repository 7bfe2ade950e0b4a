"""The run store: every run counts once, survives kills, and says when it was touched."""

import errno
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from ppn_tf import data, models, training  # noqa: E402
from ppn_tf.errors import RecordError  # noqa: E402
from ppn_tf.training import TrainingConfig  # noqa: E402
from reproduce import evaluate, protocol, record_files, runs  # noqa: E402
from reproduce.evaluate import Evaluation  # noqa: E402
from reproduce.runs import RunStore, read_record  # noqa: E402
from reproduce.specification import RunSpec, digest  # noqa: E402

BACKEND = keras.backend.backend()
# 24 patches are one batch: what shuffles batches cannot touch these runs
NETWORK = RunSpec(
    "ptynet", 0, TrainingConfig(epochs=2), object_name="stand-in", train_size=24, evaluation="rows"
)
TRIVIAL = RunSpec(
    "trivial:mean-image",
    0,
    TrainingConfig(epochs=1),
    object_name="stand-in",
    train_size=24,
    evaluation="rows",
)

load = functools.lru_cache(data.load)


def small_network(name, input_shape, *, scaling=None, **options):
    """Two layers in place of the named network: the store does not look inside."""
    inputs = keras.Input(input_shape, name="pattern")
    x = keras.layers.Rescaling(1e-4)(inputs)
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(x)
    heads = {
        head: keras.layers.Conv2D(1, 1, name=head)(keras.layers.Dropout(0.2)(x))
        for head in ("amplitude", "phase")
    }
    return keras.Model(inputs, heads, name=name)


def quick_evaluation(predict, dataset, scaling, spec, network=None):
    patches = predict(dataset.patterns[:3])
    results = {"regions": {"rows": {c: float(getattr(patches, c).mean()) for c in CHANNELS}}}
    return Evaluation(results, {c: getattr(patches, c).astype(np.float16) for c in CHANNELS})


CHANNELS = ("amplitude", "phase")


def make_quick(patch):
    """Take the time out of a run: a small network, the object once, a short evaluation."""
    patch.setattr(models, "create", small_network)
    patch.setattr(data, "load", load)
    patch.setattr(evaluate, "evaluate", quick_evaluation)


@pytest.fixture
def store(tmp_path, monkeypatch):
    make_quick(monkeypatch)
    return RunStore(tmp_path / "runs", "CPU (test)")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store that holds one trained network, and its record."""
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        store = RunStore(tmp_path_factory.mktemp("trained"), "CPU (test)")
        return store, store.ensure(NETWORK, progress=False)


def files_of(store, spec):
    return sorted(path.name for path in store.path(spec).parent.iterdir())


def no_making(*_args, **_kwargs):
    raise AssertionError("the run was made again")


# --- records ---


def test_record_of_a_network(trained):
    store, record = trained
    assert set(record_files.RECORD_KEYS) <= set(record)
    assert set(record["files"]) == {"keras"}
    assert record["hash"] == NETWORK.hash == store.path(NETWORK).parent.name
    assert store.path(NETWORK).name == f"{BACKEND}.json"
    assert record["spec"] == json.loads(json.dumps(NETWORK.to_dict()))
    results = record["results"]
    assert (results["train_patches"], results["validation_patches"]) == (22, 2)
    assert results["parameters"] == 3 * 3 * 2 + 2 + 2 * 3
    assert [entry["epoch"] for entry in results["history"]] == [1, 2]
    assert record["results_digest"] == digest(results)
    assert len(record["cost"]["epochs"]) == 2
    assert record["cost"]["total_seconds"] >= record["cost"]["train_seconds"] > 0
    assert record["environment"]["backend"] == BACKEND
    assert record["environment"]["device"] == "CPU (test)"
    assert record["environment"]["float32_products"] == "TF32 allowed"
    assert record["environment"]["versions"]["numpy"] == np.__version__
    assert record["data"]["object"] == "stand-in"
    assert files_of(store, NETWORK) == [f"{BACKEND}.{e}" for e in ("json", "keras", "lock", "npz")]
    with np.load(store.path(NETWORK, "npz"), allow_pickle=False) as archive:
        assert archive["phase"].dtype == np.float16


def test_results_hold_nothing_that_timing_changes(trained):
    text = json.dumps(trained[1]["results"])
    for word in ("seconds", "rss", "peak", "process", "utc", "commit", "device"):
        assert word not in text


def test_second_call_reads_the_record(trained, monkeypatch):
    store, record = trained
    monkeypatch.setattr(RunStore, "_make", no_making)
    assert store.ensure(NETWORK, progress=False) == record
    assert store.find(TRIVIAL) is None


def test_fresh_training_gives_the_same_digest_and_retrain_replaces(trained, store):
    first = trained[1]
    again = store.ensure(NETWORK, progress=False)
    assert again["results_digest"] == first["results_digest"]
    # what `retrain` replaces need not be what it would make
    record = json.loads(store.path(NETWORK).read_text())
    record["results"]["regions"] = {}
    record["results_digest"] = digest(record["results"])
    record["digest"] = record_files.whole_digest(record)
    store.path(NETWORK).write_text(json.dumps(record))
    assert store.ensure(NETWORK, progress=False)["results"]["regions"] == {}
    replaced = store.ensure(NETWORK, retrain=True, progress=False)
    assert replaced["results_digest"] == first["results_digest"]
    assert store.find(NETWORK)["results"] == first["results"]


def test_trivial_run(store):
    record = store.ensure(TRIVIAL)
    assert record["results"]["parameters"] == 0
    assert record["results"]["history"] == []
    dataset = load("stand-in", jitter_px=0, noise="none", seed=0)
    chosen = protocol.prepare(TRIVIAL).train
    scaling = dataset.fit_scaling(chosen, "log1p")
    expected = scaling.target_phase(dataset.phase[chosen]).mean()
    # the mean of the mean image is the mean; float32 prediction
    assert record["results"]["regions"]["rows"]["phase"] == pytest.approx(float(expected), rel=1e-5)
    assert files_of(store, TRIVIAL) == [f"{BACKEND}.{e}" for e in ("json", "lock", "npz")]


@pytest.mark.parametrize("transform", ["linear", "log1p"])
def test_trivial_inputs_are_scaled_as_the_network_scales_them(transform):
    from ppn_tf.layers import PatternScaling

    patterns = load("stand-in", jitter_px=0, noise="none", seed=0).patterns[:5]
    ends = (0.0, float(patterns.max()))
    ends = tuple(np.log1p(ends)) if transform == "log1p" else ends
    scaling = runs.Scaling(transform, ends, (0.0, 1.0), (0.0, 1.0))
    expected = keras.ops.convert_to_numpy(PatternScaling(transform, *ends)(patterns))
    # float32 rounding
    np.testing.assert_allclose(runs._scaled(patterns, scaling), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "cannot be read"),
        (lambda text: "", "cannot be read"),
        (lambda text: "[]", "lacks the keys of a record"),
        (lambda text: text.replace('"cost"', '"costs"'), "lacks the keys cost"),
        (lambda text: text.replace('"parameters": 0', '"parameters": 1'), "was changed: its resu"),
        (lambda text: text.replace('"train_size": 24', '"train_size": 25'), "its specification"),
        (lambda text: text.replace("CPU (test)", "a GPU"), "was changed: its content"),
        (lambda text: text.replace('"parameters": 0', '"parameters": NaN'), "holds NaN"),
        (lambda text: "[" * 100_000, "cannot be read"),
    ],
)
def test_damaged_and_edited_records_count_as_missing(store, capsys, damage, message):
    whole = store.ensure(TRIVIAL)
    path = store.path(TRIVIAL)
    damaged = damage(path.read_text())
    assert damaged != path.read_text()
    path.write_text(damaged)
    with pytest.raises(RecordError, match=message):
        read_record(path)
    capsys.readouterr()
    assert store.find(TRIVIAL) is None
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"warning: record {path}")
    assert captured.err.endswith("; the run counts as missing\n")
    assert store.ensure(TRIVIAL)["results"] == whole["results"]
    assert store.find(TRIVIAL)["results_digest"] == whole["results_digest"]


def test_older_evaluation_is_repeated_from_the_weights(trained, monkeypatch):
    store, record = trained
    make_quick(monkeypatch)

    def more(predict, dataset, scaling, spec, network):
        found = quick_evaluation(predict, dataset, scaling, spec)
        return Evaluation({**found.results, "more": 1}, found.predictions)

    monkeypatch.setattr(evaluate, "evaluate", more)
    monkeypatch.setattr(runs, "EVALUATION_VERSION", record["evaluation_version"] + 1)
    monkeypatch.setattr(training, "train", no_making)
    before = store.path(NETWORK).read_bytes()
    try:
        again = RunStore(store.folder, "another device").ensure(NETWORK, progress=False)
        assert again["evaluation_version"] == record["evaluation_version"] + 1
        # who trained it, and who evaluated it
        assert again["environment"] == record["environment"]
        assert again["evaluated_by"]["device"] == "another device"
        assert again["results"].pop("more") == 1
        # the same weights give the same numbers, and history and cost are kept
        assert again["results"] == record["results"]
        assert again["cost"]["train_seconds"] == record["cost"]["train_seconds"]
        # without weights the older record still counts
        monkeypatch.setattr(runs, "EVALUATION_VERSION", record["evaluation_version"] + 2)
        weights = store.path(NETWORK, "keras")
        weights.rename(weights.with_suffix(".aside"))
        assert store.ensure(NETWORK, progress=False)["results"]["more"] == 1
        weights.with_suffix(".aside").rename(weights)
    finally:
        store.path(NETWORK).write_bytes(before)


# --- interruptions ---


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("spec", [TRIVIAL, NETWORK], ids=["trivial", "network"])
def test_full_disk_leaves_nothing_behind(store, monkeypatch, spec):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(RecordError, match="could not write .*: No space left on device; noth"):
            store.ensure(spec, progress=False)
    assert files_of(store, spec) == [f"{BACKEND}.lock"]
    assert store.find(spec) is None


def test_full_disk_at_the_record_keeps_the_training(store, monkeypatch):
    """The run's end fails; the next call goes on from the last checkpoint."""
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_json", full_disk_record)
        with pytest.raises(RecordError, match="No space left"):
            store.ensure(NETWORK, progress=False)
    assert store.path(NETWORK, "checkpoint.npz").exists()
    assert store.find(NETWORK) is None
    monkeypatch.setattr(keras.Model, "fit", no_making)
    record = store.ensure(NETWORK, progress=False)
    assert len(record["results"]["history"]) == 2
    assert not store.path(NETWORK, "checkpoint.npz").exists()


def full_disk_record(path, _value):
    raise RecordError(f"could not write {path}: No space left on device; nothing was changed")


KILLED = """
import os, signal, sys
from pathlib import Path

sys.path[:0] = sys.argv[2:]
import test_runs as here


class Patch:
    setattr = staticmethod(setattr)


class Kill(here.training.Checkpoint):
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        os.kill(os.getpid(), signal.SIGKILL)


here.make_quick(Patch)
here.training.Checkpoint = Kill
here.RunStore(Path(sys.argv[1])).ensure(here.NETWORK, progress=False)
"""


def test_run_killed_by_the_system_resumes(trained, store):
    tests = Path(__file__).resolve().parent
    done = subprocess.run(
        [sys.executable, "-c", KILLED, store.folder, tests, tests.parent],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == -9, done.stderr
    # the lock's file is there, but the system freed the lock
    assert files_of(store, NETWORK) == [f"{BACKEND}.checkpoint.npz", f"{BACKEND}.lock"]
    record = store.ensure(NETWORK, progress=False)
    assert [entry["process"] for entry in record["cost"]["epochs"]] == [0, 1]
    assert record["results_digest"] == trained[1]["results_digest"]
    assert not store.path(NETWORK, "checkpoint.npz").exists()


HOLDER = """
import fcntl, shutil, sys, time

with open(sys.argv[1], "w") as stream:
    fcntl.flock(stream, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(sys.argv[4]))
    shutil.copy(sys.argv[2], sys.argv[3])
"""


def test_second_process_waits_and_takes_the_record_of_the_first(
    store, tmp_path, monkeypatch, capsys
):
    record = store.ensure(TRIVIAL)
    path, lock, ready = store.path(TRIVIAL), store.path(TRIVIAL, "lock"), tmp_path / "ready.json"
    path.rename(ready)
    monkeypatch.setattr(RunStore, "_make", no_making)
    command = [sys.executable, "-c", HOLDER, lock, ready, path, "0.7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        capsys.readouterr()
        started = time.monotonic()
        assert store.ensure(TRIVIAL)["results"] == record["results"]
        # the holder's sleep, less what passed before the clock started
        assert time.monotonic() - started > 0.3
        assert holder.wait(timeout=10) == 0
    message = f"waiting for another process that trains {TRIVIAL.label}\n"
    assert capsys.readouterr().err == message


# --- provenance ---


def test_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PPN_TF_COMMIT", "0123456789ab")
    assert RunStore(tmp_path).environment()["commit"] == "0123456789ab"
    monkeypatch.delenv("PPN_TF_COMMIT")
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert runs.commit() is None


def test_records_of_two_backends_lie_side_by_side(store, monkeypatch):
    first = store.path(TRIVIAL)
    other = "jax" if BACKEND == "tensorflow" else "tensorflow"
    monkeypatch.setattr(keras.backend, "backend", lambda: other)
    assert store.path(TRIVIAL) == first.with_name(f"{other}.json")


def test_a_record_of_another_backend_counts_unless_ones_own_is_asked_for(
    trained, tmp_path, monkeypatch
):
    store, record = trained
    other = RunStore(tmp_path, "CPU (test)")
    name = "jax" if BACKEND != "jax" else "tensorflow"
    path = other.path(NETWORK).with_name(f"{name}.json")
    path.parent.mkdir(parents=True)
    path.write_bytes(store.path(NETWORK).read_bytes())
    monkeypatch.setattr(other, "_make", no_making)
    assert other.find(NETWORK) == other.current(NETWORK) == other.ensure(NETWORK) == record
    assert other.beside(NETWORK, "npz") == path.with_name(f"{name}.npz")
    # a damaged record counts as missing: its files neither
    other.path(NETWORK).write_text("{")
    assert other.find(NETWORK) == record
    assert other.beside(NETWORK, "npz") == path.with_name(f"{name}.npz")
    other.path(NETWORK).unlink()
    own = RunStore(tmp_path, "CPU (test)", own_backend=True)
    assert own.find(NETWORK) is None
    assert own.current(NETWORK) is None
    # where a run would write them
    assert own.beside(NETWORK, "npz") == own.path(NETWORK, "npz")


def test_networks_are_made_with_the_options_and_shape_of_the_run(store, monkeypatch):
    asked = []

    def watched(name, input_shape, *, scaling=None, **options):
        asked.append((name, input_shape, scaling.transform, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "create", watched)
    spec = RunSpec(
        "ppn",
        0,
        TrainingConfig(epochs=1),
        options=(("decoder", "dense"),),
        object_name="stand-in",
        transform="linear",
        train_size=24,
    )
    with pytest.raises(KeyboardInterrupt):
        store.ensure(spec)
    assert asked == [("ppn", (32, 32, 1), "linear", {"decoder": "dense"})]


@pytest.mark.long
def test_the_named_network_with_the_full_test_rows(tmp_path):
    """Nothing replaced: two fresh trainings of PtyNet agree to the last digit."""
    digests = set()
    for name in ("first", "second"):
        record = RunStore(tmp_path / name).ensure(NETWORK, progress=False)
        assert set(record["results"]["regions"]) == {"lower-left", "lower-right", "rows", "gap"}
        assert record["results"]["parameters"] == 324_452
        digests.add(record["results_digest"])
    assert len(digests) == 1
