"""Figs. 1-4 and 9 from fabricated records: the files, and numbers computed by hand."""

import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

import matplotlib  # noqa: E402
from matplotlib.image import imread  # noqa: E402

from ppn_tf import data, models  # noqa: E402
from ppn_tf.errors import RecordError  # noqa: E402
from reproduce import exhibit, experiments, fig1, fig2, fig3, fig4, fig9, figures  # noqa: E402
from reproduce.options import Session  # noqa: E402
from reproduce.parts import bands, graph, qualities, stitched  # noqa: E402
from reproduce.runs import RunStore  # noqa: E402
from reproduce.specification import digest  # noqa: E402

OBJECT = "stand-in"
SCALING = {
    "transform": "log1p",
    "input_range": [0.0, 10.0],
    "amplitude_range": [0.5, 1.0],
    "phase_range_rad": [-1.765, -0.965],
}
POSITIONS = np.stack(np.meshgrid(*[384 + 8 * np.arange(13)] * 2, indexing="ij"), -1).reshape(-1, 2)


def spectrum_of(power):
    """A profile of four frequencies: one in each band, one beyond Nyquist."""
    profile = {"frequency": [0.1, 0.5, 0.9, 1.2], "power": power, "bands": None}
    return {"patches": profile, "field": profile}


def results(edge=2.0, power=(8.0, 1.0, 0.5, 0.5), attention=None):
    channel = {
        kind: {
            "edge": {"prediction_px": edge, "truth_px": 0.8, "profiles": 9, "lost": 0.25},
            "contrast": 0.9,
        }
        for kind in ("patches", "field")
    }
    channel["seams"] = {"prediction": 0.7, "truth": 0.6, "clear": 1.5}
    spectra = {"prediction": spectrum_of(list(power)), "truth": spectrum_of([6.0, 3.0, 1.0, 0.25])}
    both = {"amplitude": spectra, "phase": spectra}
    return {
        "scaling": SCALING,
        "history": [],
        "sharpness": {"amplitude": channel, "phase": channel},
        "spectrum": {"lower-right": both, "gap": both},
        "attention": attention,
    }


ATTENTION = {
    "patterns": 8,
    "radius_px": list(range(24)),
    "pixel_share": [1 / 24] * 24,
    "bands": {"low": 0.1, "mid": 0.25, "high": 0.4, "corner": 0.25},
    "layers": {
        "nonlocal_1_attention": [
            {
                "mass": [1 / 24] * 24,
                "relative": [1.0] * 24,
                "bands": {"low": 0.1, "mid": 0.5, "high": 0.2, "corner": 0.2},
            },
        ]
        * 2
    },
}


class Place:
    """A store in a temporary folder, and contexts of exhibits that read it."""

    def __init__(self, out):
        self.session = Session("paper", None, OBJECT, "cpu", "CPU (test)", out)
        self.store = RunStore(out / "runs", "CPU (test)")
        self.profile = experiments.PROFILES["paper"]

    def context(self, module, seeds=2):
        grid = module.EXHIBIT.grid(self.profile, OBJECT, seeds)
        return exhibit.Context(self.session, self.profile, self.store, grid)

    def write(self, spec, found, patches=None):
        """Write a record, and predictions beside it."""
        path = self.store.path(spec)
        path.parent.mkdir(parents=True)
        record = {
            "spec": spec.to_dict(),
            "hash": spec.hash,
            "results": found,
            "results_digest": digest(found),
            "cost": {"train_seconds": 1.0, "evaluate_seconds": 0.0, "epochs": []},
            "environment": {"device": "CPU (test)"},
            "data": {},
        }
        path.write_text(json.dumps(record))
        if patches is not None:
            arrays = {c: values.astype(np.float16) for c, values in patches.items()}
            np.savez(self.store.path(spec, "npz"), positions_px=POSITIONS, **arrays)

    def files(self, names):
        """Check that pictures are whole."""
        for name in names:
            path = Path(self.session.out) / name
            if name.endswith(".png"):
                assert min(imread(path).shape[:2]) > 100
            else:
                assert path.read_bytes().startswith(b"%PDF")


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Write pictures of few pixels: rendering is what takes the time here."""
    styled = figures.styled

    @contextlib.contextmanager
    def few_pixels():
        with styled():
            matplotlib.rcParams["savefig.dpi"] = 50
            yield

    monkeypatch.setattr(figures, "styled", few_pixels)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture(scope="module")
def patches():
    """True patches of the stand-in with an error of 0.1 in the amplitude."""
    like = stitched.region(
        {"amplitude": np.zeros((169, 32, 32)), "phase": np.zeros((169, 32, 32))}, POSITIONS
    )
    record = {"spec": {"object_name": OBJECT}, "results": {"scaling": SCALING}}
    truth = stitched.truth(record, like)
    return {"amplitude": truth.patches["amplitude"] + 0.1, "phase": truth.patches["phase"]}


def specs(context, *key):
    return {(spec.method, spec.seed): spec for spec in context.grid[key]}


MODULES = {"fig3": fig3, "fig4": fig4, "fig9": fig9}


@pytest.mark.parametrize("name", list(MODULES))
def test_without_records_a_figure_says_so(place, name):
    context = place.context(MODULES[name])
    text = exhibit.write(MODULES[name].EXHIBIT, context)
    assert "No record yet" in text
    assert "stand-in object" in text.splitlines()[0]
    document = json.loads((place.session.out / f"{name}.json").read_text())
    assert document["figures"] == []
    assert all(cell["ours"] is None for cell in document["cells"])


def test_grids_share_the_runs_of_the_tables(place):
    table1 = experiments.table1(place.profile, OBJECT, 2)["sound", "clean"]
    networks = {spec.hash for spec in table1 if spec.trivial is None}
    for module in (fig3, fig4):
        assert {s.hash for s in place.context(module).grid["sound", "clean"]} == networks
    full = place.context(fig9).grid["sound", "clean", "ppn", "full"]
    assert {spec.hash for spec in full} < networks
    assert len(place.context(fig9).grid) == 4


def test_fig3_draws_and_measures(place, patches):
    context = place.context(fig3)
    named = specs(context, "sound", "clean")
    # PPN is sharper in seed 0 only
    for method, edges in {"ppn": (1.0, 4.0), "ptynet": (2.0, 3.0)}.items():
        for seed, edge in enumerate(edges):
            place.write(named[method, seed], results(edge), patches if seed == 0 else None)
    made = fig3.make(context)
    assert made.figures == ("fig3.png", "fig3.pdf")
    place.files(made.figures)
    assert "Not drawn, no predictions kept yet: ppn-released, ptychonn, dpi." in made.body
    assert "narrower edges, phase: ppn is better than all of ptynet in 1 of 2 seeds" in made.body
    cell = next(c for c in made.cells if (c.method, c.metric) == ("ppn", "edge_field amplitude"))
    # 1 and 4: mean 2.5, sample deviation 3 / sqrt(2)
    assert (cell.ours, cell.n) == (2.5, 2)
    assert cell.ours_sd == pytest.approx(3 / np.sqrt(2))
    assert cell.runs == (named["ppn", 0].hash, named["ppn", 1].hash)
    row = next(line for line in made.body.splitlines() if line.startswith("| ppn "))
    assert "2.50 ± 2.12" in row
    assert "25.0 ± 0.0" in row


def test_fig3_draws_the_lowest_seed_that_kept_predictions(place, patches):
    context = place.context(fig3)
    named = specs(context, "sound", "clean")
    for method, kept in {"ppn": (0, 1), "dpi": (1,)}.items():
        for seed in range(2):
            place.write(named[method, seed], results(1.0), patches if seed in kept else None)
    shown, seeds, truth = fig3.regions(context)
    assert seeds == {"ppn": 0, "dpi": 1}
    assert list(shown) == ["ppn", "dpi"]
    assert truth is not None


def test_fig3_says_what_older_records_lack(place):
    context = place.context(fig3)
    found = results()
    del found["sharpness"]
    place.write(specs(context, "sound", "clean")["ppn", 0], found)
    made = fig3.make(context)
    assert made.figures == ()
    assert "1 records are from before these measurements" in made.body


def test_kept_predictions_are_stitched_at_their_place(place, patches):
    context = place.context(fig3)
    spec = specs(context, "sound", "clean")["ppn", 0]
    place.write(spec, results(), patches)
    region = stitched.kept(place.store.path(spec, "npz"))
    truth = stitched.truth(context.found("sound", "clean")[0][1], region)
    assert region.origin_px == (384, 384)
    phase = data.load_object(OBJECT).phase_rad[384:512, 384:512]
    # float16 of values up to 1: half a unit in the last place is 2.5e-4
    np.testing.assert_allclose(truth.fields["phase"], (phase + 1.765) / 0.8, atol=1e-6)
    np.testing.assert_allclose(region.fields["phase"], truth.fields["phase"], atol=3e-4)
    error = region.fields["amplitude"] - truth.fields["amplitude"]
    np.testing.assert_allclose(error, 0.1, atol=1e-3)


def test_damaged_predictions_are_refused(place, patches):
    spec = specs(place.context(fig3), "sound", "clean")["ppn", 0]
    assert stitched.kept(place.store.path(spec, "npz")) is None
    place.write(spec, results(), patches)
    place.store.path(spec, "npz").write_bytes(b"PK no archive")
    with pytest.raises(RecordError, match="predictions .*tensorflow.npz cannot be read"):
        stitched.kept(place.store.path(spec, "npz"))


def test_the_truth_alone_chooses_scan_point_and_section(patches):
    truth = stitched.region(patches, POSITIONS)
    point = stitched.example(truth)
    assert POSITIONS[point, 0] >= stitched.FREE_ROW_PX == 408
    image = np.zeros((128, 128))
    image[40:61, 20:30] = image[40:61, 60:70] = 1.0
    image[90:95, 20:30] = 1.0
    region = dataclasses.replace(truth, fields={"amplitude": image})
    # rows 40-60 have four edges each: their middle; 384 + 40 is free of training pixels
    assert stitched.section(region) == 40 + 21 // 2


def test_fig4_by_hand(place):
    context = place.context(fig4)
    named = specs(context, "sound", "clean")
    # shares of 10: mid 4 for PPN; 2, 1 and 0.5 for the CNNs
    powers = {
        "ppn": (5.0, 4.0, 0.5, 0.5),
        "ptychonn": (7.0, 2.0, 0.5, 0.5),
        "ptynet": (8.0, 1.0, 0.5, 0.5),
        "dpi": (8.5, 0.5, 0.5, 0.5),
    }
    for method, power in powers.items():
        attention = ATTENTION if method == "ppn" else None
        place.write(named[method, 0], results(power=power, attention=attention))
    made = fig4.make(context)
    place.files(made.figures)
    judged = [c for c in made.cells if c.id == "claims.mid_frequency_attenuation_max"]
    cell = next(c for c in judged if c.method == "ppn")
    assert cell.ours == pytest.approx(8.0)
    assert cell.how.endswith("dpi")
    assert cell.verdict["status"] == "differs"
    low = next(c for c in made.cells if c.id == "claims.mid_frequency_attenuation_min")
    assert (low.ours, low.published) == (pytest.approx(2.0), 2.1)
    # PPN has more than the true 3, so nothing is lost: no ratio of losses
    loss = next(c for c in made.cells if c.metric == "max loss phase patches")
    assert loss.ours is None
    assert "- ppn, share amplitude patches: 2.00 to 8.00 (ptychonn, dpi), n 1" in made.body
    # over the true 3 of 10.25
    line = "- amplitude patches: ppn 1.37, ptychonn 0.68, ptynet 0.34, dpi 0.17; nearest: ppn"
    assert line in made.body
    # floors of 0.5 over the true 0.25
    line = next(x for x in made.body.splitlines() if x.startswith("| patches | amplitude | dpi"))
    assert line.split("|")[-2].strip() == "2"
    # half the mass in the middle band, which has a quarter of the pixels
    assert bands.attention_rows({"ppn": {0: {"results": {"attention": ATTENTION}}}})[0] == {
        "method": "ppn",
        "layer": "nonlocal_1_attention",
        "head": "1",
        "n": "1",
        "low": "1.00",
        "mid": "2.00",
        "high": "0.50",
        "corner": "0.80",
    }
    assert "- ppn: the middle band has the largest relative mass in 2 of 2 heads" in made.body


def test_fig4_answers_every_published_id_without_all_networks(place, monkeypatch):
    monkeypatch.setattr(fig4, "draw", lambda *_: ())
    context = place.context(fig4)
    place.write(specs(context, "sound", "clean")["ptynet", 0], results())
    made = fig4.make(context)
    ids = {cell.id for cell in made.cells if cell.id}
    assert ids == {
        "claims.mid_frequency_attenuation_min",
        "claims.mid_frequency_attenuation_max",
        "claims.mid_band_share_cnn",
        "claims.high_band_share_ppn",
        "claims.high_band_share_truth",
    }
    assert "needs a common seed of PPN and all three CNNs" in made.body
    share = next(c for c in made.cells if c.id == "claims.mid_band_share_cnn")
    assert share.ours == pytest.approx(0.1)
    assert share.verdict["status"] == "cannot be checked"


def test_fig9_draws_what_there_is(place, patches):
    context = place.context(fig9)
    for variant in ("full", "mhsa"):
        spec = context.grid["sound", "clean", "ppn", variant][0]
        place.write(spec, results(), patches)
    made = fig9.make(context)
    place.files(made.figures)
    assert "Not drawn, no predictions of seed 0 yet: w/o NLB, w/o decoder." in made.body


def test_fig1_draws_the_stand_in(place):
    text = exhibit.write(fig1.EXHIBIT, place.context(fig1))
    assert "A drawing" in text
    place.files(("fig1.png", "fig1.pdf"))
    row, _ = json.loads((place.session.out / "fig1.json").read_text())["position_px"]
    assert row >= stitched.FREE_ROW_PX


def test_fig2_counts_what_the_networks_hold(place):
    made = fig2.make(place.context(fig2))
    assert tuple(made.figures) == ("fig2.png", "fig2.pdf", "fig2-released.png", "fig2-released.pdf")
    place.files(made.figures)
    released = made.extra["networks"]["ppn-released"]
    assert released["parameters"] == sum(released["parts"].values()) == 1_603_724
    assert released["parts"]["amplitude decoder"] == 241_025  # 240,577 and 448 statistics


def test_graph_of_a_network():
    nodes = {node.name: node for node in graph.nodes(models.create("ppn"))}
    add = nodes["nonlocal_1_residual_1"]
    assert add.inputs == ("nonlocal_1_attention", "nonlocal_stem")
    assert (add.kind, add.shape, add.parameters) == ("Add", (32, 32, 32), 0)
    assert nodes["pattern"].row == 0
    assert nodes["nonlocal_stem"].row == 1
    assert add.row == 4
    assert nodes["local_1_mlp_1"].kind == "Dense, gelu"
    assert nodes["fusion"].group == graph.FUSION
    assert nodes["nonlocal_stem"].text == "nonlocal_stem   Conv2D   32 x 32 x 32   320"


def test_said_needs_rivals():
    runs = {0: {"results": results()}}
    assert qualities.said({"ppn": runs}, "ppn", ("dpi",), ("phase",)) == []
