"""A training shared by two virtual CPU devices is the training on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

from ppn_tf import parallel  # noqa: E402
from ppn_tf.errors import DeviceError, OptionError  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]

#: 21 patches in batches of 8: the last batch, 5, cannot be halved; nor can one of 3. With
#: dropout batches are even, since a repeated batch draws more masks.
SCRIPT = """
import json, sys

import keras
import numpy as np

from ppn_tf import devices, training

name = devices.select_device("cpu", 2)
assert name.startswith("2 x CPU"), name
from ppn_tf.errors import PpnError
from ppn_tf.layers.scaling import PatternScaling


def network(dropout):
    training.make_repeatable(0)
    inputs = keras.Input((8, 8, 1))
    # a bias before BatchNorm has no gradient but rounding, which Adam would make as large as others
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="a")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.3, name="drop")(x) if dropout else x
    names = ("amplitude", "phase")
    heads = {name: keras.layers.Conv2D(1, 3, padding="same", name=name)(x) for name in names}
    return keras.Model(inputs, heads, name="small")


def samples(count, seed):
    arrays = np.random.default_rng(seed).random((3, count, 8, 8, 1), dtype=np.float32)
    return training.Samples(*arrays)


found = {}
for dropout in (False, True):
    for count in (1, 2):
        model, patches = network(dropout), samples(16 if dropout else 21, 1)
        config = training.TrainingConfig(3, batch_size=8, learning_rate=0.01, plateau_patience=1)
        try:
            epochs = training.train(
                model, patches, samples(11, 2), config, seed=0, devices=count
            )
        except PpnError as error:
            found[f"{dropout} {count}"] = str(error)
            continue
        found[f"{dropout} {count}"] = {
            "losses": [[e["loss"], e["val_loss"], e["learning_rate"]] for e in epochs],
            "weights": [float(np.abs(w).sum()) for w in model.get_weights()],
        }
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=["tensorflow", pytest.param("jax", marks=pytest.mark.long)])
def trained(request):
    pytest.importorskip(request.param)
    variables = {"KERAS_BACKEND": request.param, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return request.param, json.loads(done.stdout.splitlines()[-1])


def test_losses_and_weights_are_those_of_one_device(trained):
    _, found = trained
    one, two = found["False 1"], found["False 2"]
    # sums of float32 in another order: measured 6e-8
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=2e-6)
    # Adam divides by small moments: measured 1e-6
    np.testing.assert_allclose(two["weights"], one["weights"], rtol=1e-4)
    assert one["losses"][0] != one["losses"][-1]


def test_dropout_is_shared_on_jax_and_refused_on_tensorflow(trained):
    backend, found = trained
    if backend == "tensorflow":
        assert "small has dropout (drop), for which every device" in found["True 2"]
    else:
        np.testing.assert_allclose(found["True 2"]["losses"], found["True 1"]["losses"], rtol=2e-6)


def test_a_batch_is_repeated_until_the_devices_share_it():
    assert parallel.Sharing(2).even(np.arange(3)).tolist() == [0, 1, 2, 0, 1, 2]
    assert parallel.Sharing(4).even(np.arange(6)).tolist() == [*range(6), *range(6)]
    assert parallel.Sharing(4).even(np.arange(8)).tolist() == list(range(8))
    assert [parallel.Sharing(4).weight(count) for count in (1, 6, 8)] == [4, 12, 8]


def test_the_mean_of_an_epoch_counts_a_repeated_batch_once():
    """Batches of 2, 2 and 1 samples with losses 1, 3 and 10; the last one counted twice."""
    losses = parallel.TrueLosses(parallel.Sharing(2), {"loss": 5}, 2)
    losses._before["loss"] = 2.0
    # (2 * 1 + 2 * 3 + 2 * 10) / 6, in place of (2 + 6 + 10) / 5
    assert losses._true("loss", 5, 28 / 6) == pytest.approx(3.6)
    assert losses._true("loss", 4, 28 / 6) == 28 / 6


def test_devices_that_are_not_there_are_refused():
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(OptionError, match="--devices expects at least 1, received 0"):
        parallel.shared(model, 0).__enter__()
    with pytest.raises(DeviceError, match="--devices 77 was asked for, but"):
        parallel.shared(model, 77).__enter__()
