"""Attention mass against weights that are formed in full, and against uniform attention."""

import numpy as np
import pytest

pytest.importorskip("keras")

from ppn_tf import attention_mass, models  # noqa: E402
from ppn_tf.errors import DataError  # noqa: E402


def patterns(count=2, side=16):
    return np.random.default_rng(0).gamma(1.0, size=(count, side, side)).astype("float32")


def explicit(layer, inputs):
    """Softmax weights by Eq. (8), N x N, with loops over nothing but heads."""
    kernel, bias = (np.asarray(v, "float64") for v in layer.projection.get_weights())
    side = inputs.shape[1]
    x = inputs.reshape(len(inputs), side * side, -1).astype("float64") @ kernel + bias
    d_k, heads = layer.key_dim, layer.num_heads
    rows, cols = np.indices((side, side)).reshape(2, -1) - side / 2
    angle = np.arctan2(rows, cols)
    radius = np.hypot(rows, cols)
    radial = 1 / (1 + np.log1p(radius) / np.log1p(np.hypot(side / 2, side / 2)))
    found = []
    for head in range(heads):
        q = x[..., head * d_k : (head + 1) * d_k]
        k = x[..., (heads + head) * d_k : (heads + head + 1) * d_k]
        logits = q @ np.swapaxes(k, 1, 2) / np.sqrt(d_k)
        logits = logits * radial * np.cos(angle[:, None] - angle)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        found.append((weights / weights.sum(-1, keepdims=True)).mean(axis=1))
    return np.stack(found, axis=1).mean(axis=0)


def test_mass_of_ppn_against_explicit_weights():
    import keras

    network = models.create("ppn", (16, 16, 1))
    found = attention_mass.by_radius(network, patterns())
    assert list(found["layers"]) == ["nonlocal_1_attention", "nonlocal_2_attention"]
    ring = attention_mass.rings((16, 16)).ravel()
    for name, heads in found["layers"].items():
        layer = network.get_layer(name)
        tap = keras.Model(network.inputs, layer.input)
        expected = explicit(layer, np.asarray(tap.predict_on_batch(patterns()[..., None])))
        for head, mass in zip(heads, expected, strict=True):
            # float32 projections: measured 4e-6 relative
            np.testing.assert_allclose(head["mass"], np.bincount(ring, mass), rtol=2e-5)
            assert sum(head["mass"]) == pytest.approx(1.0, abs=1e-4)
            assert sum(head["bands"].values()) == pytest.approx(1.0, abs=1e-6)
            relative = np.bincount(ring, mass) / (np.bincount(ring) / 256)
            np.testing.assert_allclose(head["relative"], relative, rtol=2e-5)


def test_equal_logits_spread_the_mass_by_area():
    network = models.create("ppn", (16, 16, 1), nonlocal_attention="mhsa")
    for index in (1, 2):
        projection = network.get_layer(f"nonlocal_{index}_attention").projection
        projection.set_weights([np.zeros_like(w) for w in projection.get_weights()])
    found = attention_mass.by_radius(network, patterns())
    for heads in found["layers"].values():
        for head in heads:
            np.testing.assert_allclose(head["relative"], 1.0, rtol=1e-5)
            assert head["bands"] == pytest.approx(found["bands"])


def test_rings_and_bands_of_a_detector():
    ring = attention_mass.rings((16, 16))
    assert ring[8, 8] == 0
    assert ring[8, 0] == 8
    assert ring[0, 0] == 11  # sqrt(128) is 11.3
    shares = attention_mass.band_shares(np.ones((16, 16)) / 256)
    # pixels whose distance from the centre is below 8/3, 16/3, 8, counted one by one
    distance = np.hypot(*(np.indices((16, 16)) - 8))
    counts = [np.sum(distance < end) for end in (8 / 3, 16 / 3, 8)]
    assert [shares["low"], shares["mid"], shares["high"], shares["corner"]] == pytest.approx(
        [
            counts[0] / 256,
            (counts[1] - counts[0]) / 256,
            (counts[2] - counts[1]) / 256,
            1 - counts[2] / 256,
        ]
    )
    assert counts[0] == 21


def test_one_key_takes_all():
    query, key = np.ones((1, 5, 2)), np.zeros((1, 5, 2))
    key[0, 3] = 400.0
    np.testing.assert_allclose(attention_mass.key_mass(query, key, 1.0), [[0, 0, 0, 1, 0]])
    with pytest.raises(DataError, match=r"alike, received \(1, 5, 2\) and \(1, 4, 2\)"):
        attention_mass.key_mass(query, key[:, :4], 1.0)


def test_blocks_do_not_change_the_mass(monkeypatch):
    random = np.random.default_rng(1)
    query, key = random.normal(size=(2, 2, 3, 50, 4))
    whole = attention_mass.key_mass(query, key, 0.5)
    monkeypatch.setattr(attention_mass, "BLOCK_ROWS", 7)
    np.testing.assert_allclose(attention_mass.key_mass(query, key, 0.5), whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "options"), [("ptynet", {}), ("ppn", {"nonlocal_attention": None})]
)
def test_networks_without_pixel_attention_have_none(name, options):
    assert attention_mass.by_radius(models.create(name, (16, 16, 1), **options), patterns()) is None
