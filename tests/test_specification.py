"""The name of a run: every field counts, and nothing else."""

import dataclasses
import hashlib
import json

import pytest

pytest.importorskip("keras")

from ppn_tf.training import TrainingConfig  # noqa: E402
from reproduce import specification  # noqa: E402
from reproduce.specification import RunSpec, digest  # noqa: E402

SPEC = RunSpec("ptynet", 0, TrainingConfig(epochs=2))
#: Another value of every field; a new field belongs here.
OTHERS = {
    "model": "ptychonn",
    "seed": 1,
    "training": TrainingConfig(epochs=3),
    "options": (("decoder", "dense"),),
    "object_name": "stand-in",
    "transform": "linear",
    "jitter_px": 3,
    "noise": "reference",
    "train_size": 50,
    "evaluation": "rows",
    "epoch_patches": 2781,
}
TRAINING_OTHERS = {
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "plateau_factor": 0.25,
    "plateau_patience": 3,
    "min_learning_rate": 1e-5,
    "plateau_min_delta": 0.0,
    "loss": "mae",
}


def test_every_field_has_another_value():
    assert set(OTHERS) == {field.name for field in dataclasses.fields(RunSpec)}
    assert set(TRAINING_OTHERS) == {field.name for field in dataclasses.fields(TrainingConfig)}


def test_every_field_changes_the_hash():
    specs = [SPEC]
    specs += [dataclasses.replace(SPEC, **{name: value}) for name, value in OTHERS.items()]
    for name, value in TRAINING_OTHERS.items():
        if name != "epochs":
            training = dataclasses.replace(SPEC.training, **{name: value})
            specs.append(dataclasses.replace(SPEC, training=training))
    hashes = [spec.hash for spec in specs]
    assert len(set(hashes)) == len(hashes)
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in hashes)
    assert SPEC.hash == dataclasses.replace(SPEC).hash


def test_numerics_and_the_noise_behind_the_name_change_the_hash(monkeypatch):
    noisy = dataclasses.replace(SPEC, noise="reference")
    before = [SPEC.hash, noisy.hash]
    with monkeypatch.context() as patch:
        patch.setattr(specification, "NUMERICS_VERSION", specification.NUMERICS_VERSION + 1)
        assert not set(before) & {SPEC.hash, noisy.hash}
    changed = dict(specification.NOISE_MODELS)
    changed["reference"] = dataclasses.replace(changed["reference"], photons_per_pattern=4e4)
    monkeypatch.setattr(specification, "NOISE_MODELS", changed)
    assert SPEC.hash == before[0]
    assert noisy.hash != before[1]


def test_commit_and_versions_do_not_change_the_hash(monkeypatch):
    before = SPEC.hash
    monkeypatch.setenv("PPN_TF_COMMIT", "0123456789ab")
    assert SPEC.hash == before
    assert not {"commit", "versions", "device", "backend"} & set(SPEC.to_dict())


def test_digest_is_sha256_of_canonical_json():
    text = '{"a":[1,null],"b":0.5}'
    assert digest({"b": 0.5, "a": (1, None)}) == hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"psnr": float("inf")})


def test_specification_is_plain_values():
    spec = dataclasses.replace(SPEC, options=(("stem", "conv3"), ("residual", True)))
    values = spec.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["options"] == {"stem": "conv3", "residual": True}
    assert values["training"]["epochs"] == 2
    assert values["noise"]["name"] == "none"


def test_label_and_trivial():
    assert SPEC.trivial is None
    assert dataclasses.replace(SPEC, model="trivial:ridge").trivial == "ridge"
    noisy = dataclasses.replace(
        SPEC, model="ppn", options=(("decoder", "dense"),), noise="reference", jitter_px=3
    )
    assert noisy.label == "ppn, decoder=dense, log1p, jitter 3 px, noise reference, seed 0"
