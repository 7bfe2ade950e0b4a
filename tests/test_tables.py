"""Cells, orderings and statistics from fabricated records, with values computed by hand."""

import csv
import io

import numpy as np
import pytest

from ppn_tf.errors import OptionError
from ppn_tf.training import TrainingConfig
from reproduce import compare, experiments, render, tables
from reproduce.specification import RunSpec

BLOCK = experiments.block("sound")
METHODS = {"ptychonn": "ptychonn", "ptynet": "ptynet", "dpi": "dpi", "ppn": "ppn"}


def record(seed, offset):
    """A record whose PSNR is 10 + offset + seed / 10, all else fixed."""
    score = {"mse": 0.05, "psnr_db": 10 + offset + seed / 10, "ssim": 0.8}
    region = {c: {BLOCK.convention: score} for c in ("amplitude", "phase")}
    return {"hash": f"{offset}-{seed}", "results": {"regions": {BLOCK.region: region}}}


@pytest.fixture
def records():
    found = [
        (RunSpec(method, seed, TrainingConfig(1)), record(seed, offset))
        for offset, method in enumerate(METHODS)
        for seed in range(3)
    ]
    return tables.by_method(found)


def cell(found, method, metric):
    return next(c for c in found if (c.method, c.metric) == (method, metric))


def test_value_takes_region_convention_channel_and_unit(records):
    assert tables.value(records["ppn"][2], BLOCK, "psnr_amp") == pytest.approx(13.2)
    assert tables.value(records["ppn"][2], BLOCK, "ssim_phase") == pytest.approx(80.0)


def test_cell_has_mean_and_sample_deviation(records):
    found = tables.cells(records, METHODS, BLOCK, "clean", "paper")
    ours = cell(found, "ppn", "psnr_amp")
    # 13.0, 13.1, 13.2
    assert (ours.ours, ours.ours_sd, ours.n) == (
        pytest.approx(13.1),
        pytest.approx(0.1),
        3,
    )
    assert ours.published == 14.42
    assert ours.difference == pytest.approx(-1.32)
    assert ours.runs == ("3-0", "3-1", "3-2")
    assert len(found) == len(METHODS) * 6


def test_verdict_keeps_the_ordering_where_the_value_differs(records):
    # every seed has PPN 2 dB above PtyNet: the value is far off, the ordering is the paper's
    found = tables.cells(records, METHODS, BLOCK, "clean", "paper")
    judged = cell(found, "ptynet", "psnr_amp").verdict
    assert judged["status"] == compare.SAME_ORDERING
    assert judged["provisional"]
    assert cell(found, "ptynet", "psnr_amp").text.endswith("O*")


def test_quick_profiles_give_no_verdict(records):
    found = tables.cells(records, METHODS, BLOCK, "clean", "quick")
    assert all(c.verdict is None for c in found)


def test_missing_method_prints_a_dash():
    found = tables.cells({}, {"dpi": "dpi"}, BLOCK, "clean", "paper")
    assert {c.text for c in found} == {"-"}
    assert all(c.verdict is None and c.n == 0 for c in found)


def test_trivial_rows_have_no_published_value(records):
    found = tables.cells({"x": records["ppn"]}, {"x": None}, BLOCK, "clean", "paper")
    assert all(c.id is None and c.published is None and c.verdict is None for c in found)


def test_seed_table_takes_common_seeds_only(records):
    del records["dpi"][1]
    table = tables.seed_table(records, ("ppn", "dpi"), BLOCK, "psnr_amp")
    np.testing.assert_allclose(table, [[13.0, 12.0], [13.2, 12.2]])


def test_statistics_say_what_they_compared_and_why_not(records):
    cnns = ("ptychonn", "ptynet", "dpi")
    entries = tables.tests(records, (*cnns, "ppn"), cnns, BLOCK, "clean")
    psnr = next(e for e in entries if e["metric"] == "psnr_amp")
    assert psnr["seeds"] == 3
    assert len(psnr["pairs"]) == 6
    # margin: half of 14.42 - 13.68
    assert [e["margin"] for e in psnr["equivalence"]] == [pytest.approx(0.37)] * 3
    assert not any(e["equivalent"] for e in psnr["equivalence"])
    one_seed = {m: {0: runs[0]} for m, runs in records.items()}
    skipped = tables.tests(one_seed, (*cnns, "ppn"), cnns, BLOCK, "clean")
    assert {e["skipped"] for e in skipped} == {
        "paired statistics need at least 2 seeds on one backend, there are 1"
    }
    assert render.statistics_text(skipped)[2] == (
        "- 6 of 6 comparisons: no pair of methods shares 2 seeds"
    )
    assert "significant after Bonferroni: " in render.statistics_text(entries)[3]


def test_a_pair_uses_all_seeds_that_it_shares(records):
    del records["dpi"][1], records["dpi"][2]
    entries = tables.tests(records, ("dpi", "ptynet", "ppn"), ("dpi", "ptynet"), BLOCK, "clean")
    psnr = next(e for e in entries if e["metric"] == "psnr_amp")
    assert (psnr["seeds"], "anova" in psnr, "skipped" in psnr) == (1, False, False)
    assert [(pair["a"], pair["b"], pair["n"]) for pair in psnr["pairs"]] == [("ptynet", "ppn", 3)]
    # corrected for the three pairs of methods, not for the one that has seeds
    (pair,) = psnr["pairs"]
    assert pair["p_bonferroni"] == pytest.approx(min(1.0, 3 * pair["p"]))
    assert psnr["equivalence"] == []
    line = render.statistics_text(entries)[2 + entries.index(psnr)]
    assert "no ANOVA, 1 seeds that all methods have on one backend" in line
    assert "of 1 pairs" in line


def test_csv_has_one_line_a_number(records):
    found = tables.cells(records, METHODS, BLOCK, "clean", "paper")
    rows = list(csv.DictReader(io.StringIO(tables.csv_text(found))))
    assert len(rows) == len(found)
    row = next(r for r in rows if r["id"] == "table1.clean.ppn.psnr_amp")
    assert float(row["ours"]) == pytest.approx(13.1)
    assert row["verdict"].startswith("same ordering")


def test_layout_puts_the_published_row_first(records):
    rows = render.layout(tables.cells(records, METHODS, BLOCK, "clean", "paper"))
    assert [r["source"] for r in rows] == ["published", "sound"] * 4
    assert rows[0]["PSNR amp (dB)"] == "13.52 ± 0.17"
    assert rows[1]["n"] == "3"


def test_aligned_tables_have_lines_of_one_width():
    text = render.aligned(compare.markdown_table([{"a": "x", "long": "1"}, {"a": "yyyy"}]))
    assert text.splitlines() == [
        "| a    | long |",
        "| ---- | ---: |",
        "| x    |    1 |",
        "| yyyy |      |",
    ]


def test_grid_of_the_paper_profile():
    grid = experiments.table1(experiments.PROFILES["paper"], "ltem")
    assert set(grid) == {(b.name, c) for b in experiments.BLOCKS for c in ("clean", "noisy")}
    networks = [s for s in grid["sound", "clean"] if s.trivial is None]
    assert len(networks) == 5 * 10
    assert len([s for s in grid["sound", "noisy"] if s.trivial is None]) == 5 * 5
    assert {s.training.epochs for s in networks if s.model == "ppn"} == {30}
    assert {s.noise for s in grid["text", "noisy"]} == {"reference"}
    assert {s.jitter_px for s in grid["text", "clean"]} == {3}


def test_order_of_the_paper_profile():
    ordered = experiments.most_informative_first(
        experiments.table1(experiments.PROFILES["paper"], "ltem", seeds=2)
    )
    assert len({s.hash for s in ordered}) == len(ordered)
    assert {s.noise for s in ordered[: len(ordered) // 2]} == {"none"}
    assert [s.seed for s in ordered[: len(ordered) // 2]] == sorted(
        s.seed for s in ordered[: len(ordered) // 2]
    )


def test_fewer_than_one_seed_is_refused():
    with pytest.raises(OptionError, match="--seeds expects at least 1, received 0"):
        experiments.table1(experiments.PROFILES["paper"], "ltem", seeds=0)
