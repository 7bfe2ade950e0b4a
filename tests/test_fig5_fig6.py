"""Figs. 5 and 6 from fabricated records, and ePIE on a small curved sample."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("keras")

from ppn_tf import data, epie, stitching  # noqa: E402
from ppn_tf.errors import DataError  # noqa: E402
from ppn_tf.scaling import Scaling  # noqa: E402
from reproduce import compare, evaluate, experiments, fig5, fig6  # noqa: E402
from reproduce.exhibit import Context  # noqa: E402
from reproduce.parts import curved, orderings, pictures, real  # noqa: E402

SCALING = Scaling("log1p", (0.0, 10.0), (0.5, 1.0), (-1.8, -0.9))


@dataclasses.dataclass
class FakeStore:
    """Hands out fabricated records; files lie in a temporary folder."""

    folder: Path
    records: dict

    def find(self, spec):
        return self.records.get(spec.hash)

    def path(self, spec, ending="json"):
        return self.folder / f"{spec.hash}.{ending}"

    beside = path


def context(exhibit, tmp_path, profile, seeds, found):
    session = SimpleNamespace(
        profile=profile, object_name="stand-in", out=tmp_path, train=False, added=()
    )
    profile = experiments.PROFILES[profile]
    grid = exhibit.grid(profile, "stand-in", seeds)
    store = FakeStore(tmp_path, {})
    for specs in grid.values():
        for spec in specs:
            if found(spec):
                store.records[spec.hash] = {"hash": spec.hash, "cost": {}, "environment": {}}
    return Context(session, profile, store, grid)


def score(quality):
    return {"mse": 0.1 / quality, "psnr_db": 10.0 + quality, "ssim": 0.5 + quality / 100}


def qualities(spec):
    """PPN above PtychoNN and DPI, and below PtyNet, whatever the seed."""
    base = {"ppn": 5.0, "ppn-released": 4.0, "ptychonn": 3.0, "ptynet": 7.0, "dpi": 4.5}
    return score(base.get(spec.model, 1.0) + 0.1 * spec.seed)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Three seeds of all methods on scan 247, DPI missing."""
    monkeypatch.setattr(real, "_all_there", lambda names: names == (real.nanoprobe.SCAN_247,))
    here = context(fig5, tmp_path, "paper", None, lambda spec: spec.model != "dpi")
    rng = np.random.default_rng(0)
    label = rng.random((60, 90)).repeat(4, axis=0)[:60]
    rows, cols = np.indices((8, 15)).reshape(2, -1) * 4
    positions = np.stack([rows, cols], axis=1).astype(np.int16)
    patches = stitching.extract(label, positions, 32)
    for spec in here.grid[fig5.KEY]:
        record = here.store.find(spec)
        if record is None:
            continue
        region = {"per-image": qualities(spec), "field": qualities(spec)}
        record["results"] = {
            "regions": {"blocked": {"amplitude": region, "phase": region, "patches": 120}},
            "split": {"train": 238, "test": 120, "gap": 76, "shared_pixels": 0},
        }
        record["data"] = {
            "label": {"iterations": 200, "first_error": 0.2, "last_error": 0.1, "hash": "abc"}
        }
        noisy = patches + rng.normal(0, 0.1, patches.shape)
        arrays = {"amplitude": noisy, "phase": noisy}
        arrays |= {"target_amplitude": patches, "target_phase": patches}
        arrays = {name: values.astype(np.float16) for name, values in arrays.items()}
        np.savez(here.store.path(spec, "npz"), positions_px=positions, **arrays)
    return here


def test_fig5_grid_has_all_methods_and_three_seeds(measured):
    specs = measured.grid[fig5.KEY]
    networks = [spec for spec in specs if spec.trivial is None]
    assert len(networks) == 3 * len(fig5.METHODS)
    assert {spec.object_name for spec in specs} == {"scan-247/epie-200"}
    assert {spec.noise for spec in specs} == {"none"}
    assert {s.training.epochs for s in networks if s.model == "ppn"} == {30 * 11}


def test_fig5_tests_the_ordering_and_names_what_is_missing(measured):
    made = fig5.make(measured)
    assert made.figures == ("fig5.png", "fig5.pdf")
    assert (measured.session.out / "fig5.png").stat().st_size > 10_000
    assert "The paper's scan 20191008_39 (161 x 161 points) was not found" in made.body
    assert "No record yet: dpi." in made.body
    assert "238 patches to train on" in made.body
    assert "pixels shared by training and test: 0" in made.body
    assert "R-factor 0.2000 to 0.1000" in made.body
    # above PtychoNN, below PtyNet, DPI not there: 6 metrics each
    assert "- ppn, patches: 6 same ordering, 6 differs, of 18 comparisons; provisional" in made.body
    cell = next(c for c in made.cells if (c.method, c.metric) == ("ppn - ptynet", "psnr_amp"))
    assert cell.ours == pytest.approx(-2.0)
    assert cell.verdict["status"] == compare.DIFFERS
    values = next(c for c in made.cells if (c.method, c.metric) == ("ppn", "psnr_phase"))
    assert (values.ours, values.n) == (pytest.approx(15.1), 3)
    assert len(values.runs) == 3
    assert all(c.id is None and c.published is None for c in made.cells)


def test_fig5_without_any_scan_or_record(measured, monkeypatch, tmp_path):
    measured.store.records.clear()
    made = fig5.make(measured)
    assert made.figures == ()
    assert "No record yet: ppn, ppn-released, ptychonn, ptynet, dpi." in made.body
    monkeypatch.setattr(real, "_all_there", lambda names: False)
    made = fig5.make(context(fig5, tmp_path, "smoke", None, lambda spec: False))
    assert "Scan 247 was not found either" in made.body


def test_fig5_smoke_gives_no_verdict(measured, monkeypatch):
    monkeypatch.setattr(fig5, "draw", lambda here: ())
    smoke = dataclasses.replace(measured, profile=experiments.PROFILES["smoke"])
    made = fig5.make(smoke)
    assert all(cell.verdict is None for cell in made.cells)
    assert "- ppn, field: no verdict" in made.body


@pytest.fixture
def chart(tmp_path, monkeypatch):
    """Two seeds of Table I with curved scores; ePIE is replaced by the truth."""
    monkeypatch.setattr(evaluate, "CURVED", ("siemens-star",))
    monkeypatch.setattr(evaluate, "KEPT_CURVED", ("siemens-star",))
    here = context(fig6, tmp_path, "paper", 2, lambda spec: spec.model != "ppn-released")
    kept = curved.truth("siemens-star", SCALING)["phase"]
    for spec in here.grid[fig6.KEY]:
        record = here.store.find(spec)
        if record is None:
            continue
        channels = {c: {"per-image": qualities(spec)} for c in ("amplitude", "phase")}
        record["results"] = {"scaling": SCALING.to_dict(), "curved": {"siemens-star": channels}}
        arrays = {"curved_siemens-star_phase": kept.astype(np.float16)}
        np.savez(here.store.path(spec, "npz"), **(arrays if spec.seed == 0 else {}))
    calls = []

    def find(name, method, object_name, iterations, folder):
        calls.append((name, method, iterations))
        field = data.load_object(name).complex
        return {"field": field, "errors": np.array([0.3, 0.1]), "seconds": 2.0, "settings": {}}

    monkeypatch.setattr(curved, "find", find)
    channels = {c: {"per-image": score(6.0)} for c in ("amplitude", "phase")}
    monkeypatch.setattr(curved, "scores", lambda *arguments: channels)
    return here, calls


def test_fig6_compares_with_epie_and_between_networks(chart):
    here, calls = chart
    made = fig6.make(here)
    assert calls == [("siemens-star", method, 200) for method in ("epie", "epie-75")]
    assert made.figures == ("fig6.png", "fig6.pdf")
    # ePIE (16 dB) is above PPN (15), PtychoNN (13) and DPI (14.5), below PtyNet (17)
    for text in fig6.EPIE.values():
        assert f"no network matches {text}: 9 same ordering, 3 differs, of 15" in made.body
    assert "ppn outperforms the CNNs: 6 same ordering, 3 differs, of 9 comparisons" in made.body
    assert "No scores on curved samples yet: ppn-released." in made.body
    assert made.extra["epie"]["siemens-star.epie"]["errors"] == [0.3, 0.1]
    cell = next(c for c in made.cells if (c.method, c.metric) == ("epie - ppn", "psnr_phase"))
    # seeds 0 and 1 of PPN: 15.0 and 15.1
    assert (cell.ours, cell.n) == (pytest.approx(0.95), 2)


def test_fig6_without_curved_scores(chart, monkeypatch):
    here, _ = chart
    monkeypatch.setattr(fig6, "draw", lambda here, fields: ("fig6.png",))
    for record in here.store.records.values():
        del record["results"]["curved"]
    smoke = dataclasses.replace(here, profile=experiments.PROFILES["smoke"])
    made = fig6.make(smoke)
    assert "a full evaluation is part of the profile paper alone" in made.body
    assert "no verdict" in made.body
    assert made.figures
    here.store.records.clear()
    made = fig6.make(here)
    assert made.figures == ()
    assert made.body.startswith("No record yet")


@pytest.mark.parametrize(
    ("ours", "theirs", "metric", "status"),
    [
        ([2.0, 2.1, 2.2], [1.0, 1.1, 1.3], "psnr_amp", compare.SAME_ORDERING),
        ([2.0, 2.1, 2.2], [1.0, 1.1, 1.3], "mse_amp", compare.DIFFERS),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], "psnr_amp", compare.CANNOT_SPREAD),
        ([1.0], [0.5], "psnr_amp", compare.CANNOT),
    ],
)
def test_verdicts_of_an_ordering(ours, theirs, metric, status):
    cell = orderings.ordering_cell(
        ("a", dict(enumerate(ours))), ("b", dict(enumerate(theirs))), "x", metric, "paper"
    )
    assert cell.verdict["status"] == status
    assert cell.verdict["provisional"]


def test_orderings_pair_common_seeds():
    cell = orderings.ordering_cell(
        ("a", {0: 1.0, 2: 5.0, 3: 6.0}), ("b", {2: 4.0, 3: 4.0, 4: 0.0}), "x", "psnr_amp", "quick"
    )
    assert (cell.ours, cell.n, cell.verdict) == (1.5, 2, None)


def test_zoom_lies_where_the_truth_has_most_detail():
    image = np.zeros((40, 60))
    image[22:30, 41:49] = np.random.default_rng(1).random((8, 8))
    rows, cols = pictures.finest(image, 12)
    assert rows.start <= 22
    assert rows.stop >= 30
    assert cols.start <= 41
    assert cols.stop >= 49
    image[0, 0] = np.nan
    assert pictures.finest(image, 40)[0] == slice(0, 40)
    assert pictures.limits(np.full((4, 4), 0.3)) == (0.3, 1.3)


def test_epie_on_a_curved_sample_is_cached_and_scored(tmp_path, monkeypatch):
    whole = data.load_object("spiral")
    crop = data.ComplexObject(
        "spiral", whole.amplitude[:96, :96], whole.phase_rad[:96, :96], whole.provenance
    )
    monkeypatch.setattr(curved.data, "load_object", lambda name: crop)
    original = epie.reconstruct

    def plain(*arguments, **options):
        assert options["update_probe"] is False
        return original(*arguments, **{**options, "engine": "numpy", "label": None})

    monkeypatch.setattr(epie, "reconstruct", plain)
    arguments = ("spiral", "epie-75", "stand-in", 30, tmp_path)
    made = curved.find(*arguments)
    assert made["errors"][-1] < 0.5 * made["errors"][0]
    monkeypatch.setattr(epie, "reconstruct", None)
    again = curved.find(*arguments)
    np.testing.assert_array_equal(again["field"], made["field"])
    assert again["settings"]["iterations"] == 30
    scores = curved.scores(made["field"], "spiral", "stand-in", SCALING)
    # at the networks' positions: 5 x 5 windows 16 px apart
    assert scores["patches"] == 25
    # measured 20 dB after 30 iterations; a constant gives about 10
    assert scores["phase"]["per-image"]["psnr_db"] > 14
    perfect = curved.scores(crop.complex, "spiral", "stand-in", SCALING)
    # float32 of the object; measured 130 dB
    assert perfect["amplitude"]["per-image"]["psnr_db"] > 100
    next(tmp_path.glob("*.npz")).write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read .*it is made again"):
        curved.find(*arguments)
