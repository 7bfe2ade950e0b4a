"""Training: repeatable, resumable, watched. Networks here take 8 x 8 px and seconds."""

import dataclasses
import gc
import math
import signal
import weakref

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from ppn_tf import callbacks, training  # noqa: E402
from ppn_tf.checkpoint import fingerprint, read_checkpoint  # noqa: E402
from ppn_tf.errors import DataError, OptionError, RecordError, TrainingError  # noqa: E402
from ppn_tf.inference import predict  # noqa: E402
from ppn_tf.layers import PolarCoordinateAttention  # noqa: E402
from ppn_tf.training import Batches, Samples, TrainingConfig  # noqa: E402

#: Four epochs; every epoch counts as one without improvement, so that the rate drops.
CONFIG = TrainingConfig(
    epochs=4, batch_size=8, plateau_patience=2, plateau_min_delta=10.0, learning_rate=1e-2
)


def tiny(seed=0, width=4, attention=False):
    """Convolution, BatchNorm and dropout: all kinds of state that a resume must keep."""
    training.make_repeatable(seed)
    inputs = keras.Input((8, 8, 1), name="pattern")
    x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="conv")(inputs)
    if attention:
        x = PolarCoordinateAttention(2, width, name="poca")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.3, name="dropout")(x)
    heads = {
        name: keras.layers.Conv2D(1, 1, activation="sigmoid", name=name)(x)
        for name in ("amplitude", "phase")
    }
    return keras.Model(inputs, heads, name="tiny")


def samples(count, seed=1):
    rng = np.random.default_rng(seed)
    return Samples(*(rng.random((count, 8, 8, 1), dtype=np.float32) for _ in range(3)))


TRAIN, VALIDATION = samples(20), samples(6, 2)


def run(model, config=CONFIG, **options):
    return training.train(model, TRAIN, VALIDATION, config, seed=0, **options)


def results(epochs):
    """What timing does not decide."""
    return [
        {key: entry[key] for key in ("epoch", "learning_rate", "loss", "val_loss")}
        for entry in epochs
    ]


@pytest.fixture(scope="module")
def undisturbed():
    """Weights and history of four epochs in one go."""
    model = tiny()
    epochs = run(model)
    return model.get_weights(), epochs


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The checkpoint that a training leaves which dies after two of four epochs."""
    path = tmp_path_factory.mktemp("checkpoint") / "state.npz"

    class Kill(training.Checkpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 1:
                raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Checkpoint", Kill)
        with pytest.raises(Killed):
            run(tiny(), checkpoint=path)
    return path


def copy(path, folder):
    target = folder / "state.npz"
    target.write_bytes(path.read_bytes())
    return target


def test_resumed_training_equals_an_undisturbed_one(undisturbed, interrupted, tmp_path):
    path = copy(interrupted, tmp_path)
    model = tiny(seed=5)  # other weights and dropout masks: all must come from the file
    epochs = run(model, checkpoint=path)
    weights, expected = undisturbed
    # bit for bit on one CPU: dropout masks, Adam's moments, the order of the batches
    assert results(epochs) == results(expected)
    for received, wanted in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(received, wanted)
    assert [entry["process"] for entry in epochs] == [0, 0, 1, 1]
    assert [entry["process"] for entry in expected] == [0, 0, 0, 0]
    # the plateau rule was carried over: without its counters the rate would fall later
    assert [entry["learning_rate"] for entry in epochs] == pytest.approx([1e-2, 1e-2, 5e-3, 5e-3])
    # finished: nothing more to do, the same history again
    assert results(run(tiny(), checkpoint=path)) == results(expected)


def test_another_seed_is_another_training(undisturbed):
    one = TrainingConfig(**{**vars(CONFIG), "epochs": 1})
    other = training.train(tiny(), TRAIN, VALIDATION, one, seed=1)
    assert other[0]["loss"] != undisturbed[1][0]["loss"]
    first, again, another = (tiny(seed).get_weights()[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - another).max() > 0.01


def test_history(undisturbed):
    epochs = undisturbed[1]
    assert [entry["epoch"] for entry in epochs] == [1, 2, 3, 4]
    assert set(epochs[0]) == {
        "epoch",
        "seconds",
        "learning_rate",
        "loss",
        "val_loss",
        "rss_mib",
        "peak_rss_mib",
        "gpu_peak_mib",
        "process",
        "centers",
    }
    for entry in epochs:
        assert entry["seconds"] >= 0
        assert 50 < entry["rss_mib"] <= entry["peak_rss_mib"]
        assert entry["gpu_peak_mib"] is None or entry["gpu_peak_mib"] > 0
        assert entry["centers"] == {}  # BatchNorm's flag `center` is not a centre
        assert math.isfinite(entry["loss"] + entry["val_loss"])
    # both losses are about the variance of uniform targets, 1 / 12, and are summed
    assert epochs[-1]["val_loss"] == pytest.approx(2 / 12, rel=0.3)


def test_history_follows_the_learned_centre(capsys, tmp_path):
    config = TrainingConfig(epochs=1, batch_size=8, learning_rate=1e-2)
    model = tiny(attention=True)
    epochs = run(model, config, label="tiny network")
    (center,) = [epochs[0]["centers"]["poca"]]
    assert len(center) == 2
    assert center == [float(v) for v in keras.ops.convert_to_numpy(model.get_layer("poca").center)]
    assert any(center)
    # the bar belongs to standard error
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "tiny network" in captured.err
    assert "3/3" in captured.err
    assert f"val_loss={epochs[0]['val_loss']:.4f}" in captured.err


# --- order of the batches ---


def test_every_sample_comes_once_an_epoch():
    batches = Batches(TRAIN, 8, seed=0)
    assert len(batches) == 3
    patterns = np.concatenate([batches[i][0] for i in range(len(batches))])
    assert [len(batches[i][0]) for i in range(3)] == [8, 8, 4]
    np.testing.assert_array_equal(
        np.sort(patterns.reshape(20, -1)[:, 0]), np.sort(TRAIN.patterns.reshape(20, -1)[:, 0])
    )
    # targets belong to their patterns
    index = int(np.argmin(np.abs(TRAIN.patterns[:, 0, 0, 0] - patterns[3, 0, 0, 0])))
    np.testing.assert_array_equal(batches[0][1]["phase"][3], TRAIN.phase[index])
    np.testing.assert_array_equal(batches[0][1]["amplitude"][3], TRAIN.amplitude[index])


def test_order_depends_on_seed_and_epoch_alone():
    def order(batches):
        return np.concatenate([batches[i][0][:, 0, 0, 0] for i in range(len(batches))]).tolist()

    walked = Batches(TRAIN, 8, seed=3)
    first = order(walked)
    walked.on_epoch_end()
    walked.on_epoch_end()
    assert order(walked) == order(Batches(TRAIN, 8, seed=3, epoch=2))
    # another size of the batches cuts the same order elsewhere
    assert order(Batches(TRAIN, 5, seed=3)) == first
    assert order(Batches(TRAIN, 8, seed=4)) != first
    assert order(walked) != first


def test_training_keeps_the_order(monkeypatch):
    """Whatever Python's global random state is: methods draw from it differently."""
    asked = []
    original = Batches.__getitem__

    def watched(self, index):
        asked.append(index)
        return original(self, index)

    monkeypatch.setattr(Batches, "__getitem__", watched)
    many = samples(64)
    inputs = keras.Input((8, 8, 1))
    heads = {name: keras.layers.Conv2D(1, 1, name=name)(inputs) for name in many.targets}
    model = keras.Model(inputs, heads)
    one = TrainingConfig(epochs=1, batch_size=4)
    training.train(model, many, VALIDATION, one, seed=0)
    # Keras looks at the first batches before, for their shapes
    assert asked[-16:] == list(range(16))


# --- what goes wrong ---


def test_nan_loss_names_epoch_and_batch(tmp_path):
    path = tmp_path / "state.npz"
    order = np.concatenate([Batches(TRAIN, 8, seed=0)[i][0][:, 0, 0, 0] for i in range(3)])
    bad = TRAIN.phase.copy()
    # the twelfth pattern of the first epoch is in its second batch
    bad[int(np.argmin(np.abs(TRAIN.patterns[:, 0, 0, 0] - order[11])))] = np.nan
    poisoned = Samples(TRAIN.patterns, TRAIN.amplitude, bad)
    message = r"the loss became nan in epoch 1, batch 2; the last finished epoch is kept"
    with pytest.raises(TrainingError, match=message):
        training.train(tiny(), poisoned, VALIDATION, CONFIG, seed=0, checkpoint=path)
    assert not path.exists()


def damaged_checkpoints(path, folder):
    """Name to (file, message)."""
    whole = path.read_bytes()
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    state = str(arrays.pop("state"))
    other_version = state.replace('"version": 2', '"version": 0')
    assert other_version != state
    first = next(iter(arrays))
    # within an array, since not every byte of a zip archive's headers is checked
    inside = whole.index(max(arrays.values(), key=lambda a: a.nbytes).tobytes())
    variants = {
        "truncated": (whole[: len(whole) // 2], "cannot be read"),
        "empty": (b"", "cannot be read"),
        "text": (b"not a checkpoint", "cannot be read"),
        "flipped": (
            whole[:inside] + bytes([whole[inside] ^ 255]) + whole[inside + 1 :],
            "cannot be read",
        ),
        "stateless": (arrays, "cannot be read"),
        "no json": ({"state": np.array("{"), **arrays}, "cannot be read"),
        "a list": ({"state": np.array("[]"), **arrays}, "belongs to another network"),
        "version": ({"state": np.array(other_version), **arrays}, "belongs to another network"),
        "one array less": (
            {"state": np.array(state), **{k: v for k, v in arrays.items() if k != first}},
            "belongs to another network",
        ),
    }
    for name, (content, message) in variants.items():
        target = folder / f"{name}.npz"
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            np.savez(target, **content)
        yield name, target, message
    target = folder / "array.npz"
    with target.open("wb") as stream:
        np.save(stream, arrays[first])
    yield "array", target, "cannot be read"


def compiled(**options):
    model = tiny(seed=7, **options)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    return model


def test_damaged_checkpoints_are_refused_and_change_nothing(interrupted, tmp_path):
    model = compiled()
    before = model.get_weights()
    for name, path, message in damaged_checkpoints(interrupted, tmp_path):
        with pytest.raises(RecordError, match=f"checkpoint .*{path.name} {message}") as caught:
            read_checkpoint(path, model, {})
        assert "delete it to train from the start" in str(caught.value), name
        for received, wanted in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(received, wanted, err_msg=name)


def test_checkpoint_of_another_network_is_refused(interrupted):
    for options in ({"width": 5}, {"attention": True}):
        model = compiled(**options)
        before = model.get_weights()
        with pytest.raises(RecordError, match="belongs to another network or another version"):
            read_checkpoint(interrupted, model, {})
        for received, wanted in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(received, wanted)


def refusal(checkpoint, *, data=TRAIN, seed=0, **changed):
    """What a training that differs from the interrupted one in one thing is told."""
    config = dataclasses.replace(CONFIG, **changed)
    with pytest.raises(RecordError, match="is of another training: ") as caught:
        training.train(tiny(), data, VALIDATION, config, seed=seed, checkpoint=checkpoint)
    return str(caught.value)


def test_checkpoint_of_another_training_is_refused(interrupted):
    before = interrupted.read_bytes()
    assert "training: seed differ. Pass the same" in refusal(interrupted, seed=1)
    assert ": batch_size, loss differ" in refusal(interrupted, loss="mae", batch_size=4)
    # settings are compared exactly: near is not the same
    assert ": learning_rate differ" in refusal(interrupted, learning_rate=1e-2 + 5e-5)
    noisy = dataclasses.replace(TRAIN, phase=np.clip(TRAIN.phase + 0.01, 0, 1) * TRAIN.patterns)
    assert ": training_phase differ" in refusal(interrupted, data=noisy)
    assert interrupted.read_bytes() == before


def test_fingerprint_survives_rounding_and_sees_noise():
    rng = np.random.default_rng(3)
    values = rng.random((50, 8, 8, 1), dtype=np.float32)
    rounded = values * (1 + np.float32(1e-6) * rng.standard_normal(values.shape, np.float32))
    noisy = values + 0.01 * rng.standard_normal(values.shape)
    first, near, far = (fingerprint(v)["fingerprint"] for v in (values, rounded, noisy))
    # measured 4e-7 and 0.02
    assert abs(near - first) < 1e-6
    assert abs(far - first) > 1e-3
    assert fingerprint(np.zeros(4)) == {"fingerprint": 0.0}


def test_checkpoint_holds_counters_and_no_pickle(interrupted):
    state = read_checkpoint(interrupted, compiled(), {})
    # the first epoch always improves on nothing; the second did not, by 10
    assert state["plateau"] == {
        "best": state["epochs"][0]["val_loss"],
        "wait": 1,
        "cooldown_counter": 0,
    }
    assert [entry["epoch"] for entry in state["epochs"]] == [1, 2]
    with np.load(interrupted, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_a_peak_of_the_gpu_is_that_of_the_training(monkeypatch):
    """On JAX a process has one peak: it is that of a training only where that raised it."""
    peaks = iter([900.0, 900.0, 900.0, 1200.0, 1200.0])
    monkeypatch.setattr(callbacks, "gpu_peak_memory_mib", lambda: next(peaks))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monitor = callbacks.ResourceMonitor()
    monitor.set_model(compiled())
    monitor.on_train_begin()
    for epoch in range(4):
        monitor.on_epoch_begin(epoch)
        monitor.on_epoch_end(epoch, {"loss": 1.0, "val_loss": 1.0})
    assert [entry["gpu_peak_mib"] for entry in monitor.epochs] == [None, None, 1200.0, 1200.0]


def test_plateau_restores_once():
    plateau = callbacks.ResumablePlateau(monitor="val_loss", patience=2)
    assert plateau.state() == {"best": plateau.state()["best"], "wait": 0, "cooldown_counter": 0}
    plateau.restore({"best": 0.5, "wait": 1, "cooldown_counter": 0})
    plateau.on_train_begin()
    assert plateau.state() == {"best": 0.5, "wait": 1, "cooldown_counter": 0}
    plateau.on_train_begin()
    assert plateau.state()["wait"] == 0


def test_infinite_loss_is_refused_too():
    stop = callbacks.StopOnNaN()
    stop.on_epoch_begin(4)
    stop.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(TrainingError, match="the loss became inf in epoch 5, batch 8"):
        stop.on_train_batch_end(7, {"loss": math.inf})


class Interrupting(keras.callbacks.Callback):
    """Ctrl-C, once or twice, at one moment of the training."""

    def __init__(self, moment, times=1):
        super().__init__()
        self.moment, self.times, self.heard = moment, times, []

    def hear(self, name):
        self.heard.append(name)
        if name == self.moment and self.heard.count(name) == 1:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
            self.heard.append("went on")

    def on_train_batch_begin(self, batch, logs=None):
        self.hear("train batch")

    def on_test_batch_begin(self, batch, logs=None):
        self.hear("test batch")

    def on_train_end(self, logs=None):
        self.hear("end")


@pytest.mark.parametrize(
    ("moment", "times", "last"),
    [
        # the first stops where a batch ends, the second at once
        ("train batch", 1, "went on"),
        ("train batch", 2, "train batch"),
        ("test batch", 1, "went on"),
        ("end", 1, "went on"),
    ],
)
def test_ctrl_c_stops_the_training_where_a_batch_ends(moment, times, last, capfd):
    interrupting = Interrupting(moment, times)
    # in the background of a shell it is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(training, "_writers", lambda *_: [interrupting])
            run(tiny())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupting.heard[-1] == last
    assert "stopping after this batch (Ctrl-C again: at once)" in capfd.readouterr().err


def test_a_handler_of_the_program_is_left_alone():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with callbacks.StopOnInterrupt.listening():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, received 0"),
        ({"epochs": 1, "batch_size": 0}, "batch_size must be at least 1, received 0"),
        ({"epochs": 1, "learning_rate": 0.0}, "learning_rate must be positive, received 0.0"),
        ({"epochs": 1, "learning_rate": math.nan}, "learning_rate must be positive, received nan"),
    ],
)
def test_refused_settings(options, message):
    with pytest.raises(OptionError, match=message):
        TrainingConfig(**options)


def test_samples_scale_targets_and_refuse_an_empty_selection():
    from ppn_tf.data import Dataset
    from ppn_tf.scaling import Scaling

    rng = np.random.default_rng(0)
    arrays = [rng.random((3, 8, 8), dtype=np.float32) for _ in range(3)]
    dataset = Dataset(*arrays, np.array([[0, 0], [0, 1], [0, 2]]), None, (8, 10))
    scaling = Scaling("linear", (0.0, 1.0), (0.0, 2.0), (-1.0, 1.0))
    chosen = Samples.of(dataset, np.array([2, 0]), scaling)
    assert len(chosen) == 2
    np.testing.assert_array_equal(chosen.patterns[..., 0], arrays[0][[2, 0]])
    # float32 rounding
    np.testing.assert_allclose(chosen.amplitude[..., 0], arrays[1][[2, 0]] / 2, rtol=1e-6)
    np.testing.assert_allclose(chosen.phase[..., 0], (arrays[2][[2, 0]] + 1) / 2, rtol=1e-6)
    with pytest.raises(DataError, match="expected at least one patch, received an empty selection"):
        Samples.of(dataset, np.array([], dtype=int), scaling)


@pytest.mark.parametrize("attention", [False, True], ids=["convolution", "attention"])
def test_a_training_leaves_neither_its_samples_nor_its_graph(attention):
    """Both are large, and hundreds of trainings follow one another in a process."""
    config = TrainingConfig(epochs=1, batch_size=8)

    def once():
        model, own = tiny(attention=attention), samples(20)
        training.train(model, own, samples(6, 2), config, seed=0)
        predict(model, own.patterns)
        return weakref.ref(own.patterns), weakref.ref(model)

    once()
    gc.collect()
    before = graphs()
    left = once()
    gc.collect()
    assert [reference() for reference in left] == [None, None]
    assert graphs() == before


def graphs():
    """Number of graphs of TensorFlow that are alive; none elsewhere."""
    kinds = ("FuncGraph", "CondBranchFuncGraph", "WhileBodyFuncGraph")
    return sum(type(found).__name__ in kinds for found in gc.get_objects())


def test_a_validation_loss_that_is_no_number_stops():
    stop = callbacks.StopOnNaN()
    stop.on_epoch_end(0, {"loss": 1.0, "val_loss": 0.5})
    with pytest.raises(TrainingError, match="the validation loss became nan in epoch 3; the epoch"):
        stop.on_epoch_end(2, {"loss": 1.0, "val_loss": float("nan")})
