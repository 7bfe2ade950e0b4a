"""From a number to what it rests on, with fabricated documents and the committed ones."""

import json

import pytest

from ppn_tf.errors import OptionError
from reproduce import why
from reproduce.compare import load_paper
from reproduce.options import ROOT
from reproduce.parts import arithmetic

NAME = "table1.clean.ppn.psnr_amp"


def cell(**changes):
    base = {
        "id": NAME,
        "block": "sound",
        "condition": "clean",
        "method": "ppn",
        "metric": "psnr_amp",
        "ours": 14.5,
        "ours_sd": 0.25,
        "n": 2,
        "runs": ["abc"],
        "unit": "dB",
        "how": "",
        "verdict": {"text": "reproduced, provisional", "reason": "a difference of +0.08"},
    }
    return base | changes


@pytest.fixture
def folder(tmp_path):
    """An exhibit's file with three cells and one record."""
    document = {
        "about": "an object",
        "command": "python reproduce/table1.py --profile quick",
        "body": "text\n- sound: no shared pixels (region gap, SSIM per-image)\n",
        "cells": [cell(), cell(block="text", ours=None, runs=[]), cell(id=None, ours=1.0)],
    }
    (tmp_path / "table1.json").write_text(json.dumps(document))
    (tmp_path / "all.json").write_text(json.dumps({"made": {}}))
    run = tmp_path / "runs" / "abc"
    run.mkdir(parents=True)
    record = {
        "spec": {"model": "ppn", "seed": 3},
        "environment": {"backend": "jax", "device": "a device", "commit": "1234"},
    }
    (run / "jax.json").write_text(json.dumps(record))
    return tmp_path


@pytest.mark.parametrize(
    ("short", "full"),
    [
        (NAME, NAME),
        ("table1.ppn.psnr_amp", NAME),
        ("table1.noisy.ppn.psnr_amp", "table1.noisy.ppn.psnr_amp"),
        ("speedup_overlap_30", "claims.speedup_overlap_30"),
        ("train_rows", "statement.train_rows"),
    ],
)
def test_short_ids(short, full):
    paper = load_paper()
    findings = arithmetic.findings(paper)
    assert why.resolve(short, [*paper, *(finding.id for finding in findings)]) == full


def test_unknown_id_lists_close_ones(tmp_path):
    with pytest.raises(
        OptionError, match=r"unknown number 'claims\.patchs': close ones: claims\.patches"
    ):
        why.walk("claims.patchs", tmp_path)
    with pytest.raises(OptionError, match=r"'zzz': reproduce/paper\.yaml lists them"):
        why.walk("zzz", tmp_path)


def test_what_the_paper_says_against_itself_is_listed(folder):
    lines = why.walk("table1.ptychonn.psnr_amp", folder)
    assert "The paper against itself" in lines
    (jensen,) = (s for s in lines if "(consistency.clean.ptychonn.psnr_amp)" in s)
    # 13.52 + 10 log10(0.0432)
    assert jensen.startswith("  does not hold: MSE and PSNR are means over the same results")
    assert "gives -0.125163" in jensen


def test_walk_from_a_number_to_its_records(folder):
    lines = why.walk("table1.ppn.psnr_amp", folder)
    assert lines[0] == NAME
    text = "\n".join(lines)
    assert "  Table I, noise-free, PPN\n  14.42 ± 0.08 dB\n" in text
    start = lines.index(f"Ours, from {folder / 'table1.json'}, an object")
    assert lines[start + 1 :] == [
        "  sound clean ppn: 14.5 ± 0.25 dB, n 2",
        "    verdict: reproduced, provisional",
        "    reason: a difference of +0.08",
        "    protocol: no shared pixels (region gap, SSIM per-image)",
        f"    run abc: ppn, seed 3, jax, a device, commit 1234, {folder}/runs/abc/jax.json",
        "  no value yet: text clean ppn",
        "  formula: amplitude, 10 log10(1 / MSE), MSE over all pixels together, data range 1",
        "",
        "Command",
        "  python reproduce/table1.py --profile quick",
    ]


def test_missing_and_damaged_records_are_named(folder):
    (folder / "runs" / "abc" / "jax.json").write_text("{")
    (line,) = why.run_lines(cell(), folder / "runs")
    assert "jax.json cannot be read: JSONDecodeError" in line
    (line,) = why.run_lines(cell(runs=["def"]), folder / "runs")
    assert line == f"    run def: its record is not in {folder / 'runs'}"


def test_damaged_document_is_named_and_left_out(folder, capsys):
    (folder / "fig9.json").write_text("{")
    assert [path.name for path, _ in why.read_documents(folder)] == ["table1.json"]
    assert "fig9.json cannot be read" in capsys.readouterr().err


def test_contradictions_are_shown(tmp_path):
    text = "\n".join(why.walk("table1.ptychonn.mse_amp", tmp_path))
    assert "  0.0432 ± 0.0002\n" in text
    assert (
        "contradicted by table1.clean.ptychonn.psnr_amp: 13.52, Table I, noise-free, PtychoNN"
        in text
    )
    assert "does not hold: MSE and PSNR are means over the same results" in text
    assert "Ours: no value yet" in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("table3.transunet.psnr_amp", "python reproduce/table3.py --profile quick"),
        ("claims.speedup_overlap_30", "python reproduce/fig8.py --profile quick"),
        ("claims.patches", "python reproduce/claims.py --profile quick"),
        ("claims.mid_band_share_cnn", "python reproduce/fig4.py --profile quick"),
        ("fig10.ppn.gflops", "python reproduce/fig10.py --profile quick"),
        ("statement.train_rows", "python reproduce/claims.py --profile quick"),
    ],
)
def test_command_of_a_number_without_a_value(tmp_path, name, expected):
    assert why.walk(name, tmp_path, "quick")[-2:] == ["Command", f"  {expected}"]


def test_claims_name_the_exhibit_whose_runs_they_need(tmp_path):
    assert why.walk("claims.mhsa_psnr_amp_drop_percent", tmp_path)[-2:] == [
        "  python reproduce/table2.py",
        "  python reproduce/claims.py",
    ]


def test_missing_published_value_and_borrowed_spread(tmp_path):
    assert "  value missing" in why.walk("table3.transunet.psnr_amp", tmp_path)
    lines = why.walk("table2.mhsa.psnr_amp", tmp_path)
    assert "  no spread printed: that of Table I's PPN row, 0.08, is used" in lines
    lines = why.walk("claims.speedup_overlap_30", tmp_path)
    assert "  852 ratio" in lines
    (line,) = [line for line in lines if line.startswith("  holds within rounding")]
    assert "gives 833.333, rounding allows 803.226 to 865.517, wanted = 852" in line


def test_every_published_number_can_be_walked(tmp_path):
    paper = load_paper()
    findings = arithmetic.findings(paper)
    for name, published in paper.items():
        assert why.published_lines(published, paper)[1] == f"  {published.where}"
        why.arithmetic_lines(name, findings)
        assert why.exhibit_of(name)


def test_main_reads_the_folder_of_a_profile(folder, capsys):
    (folder / "quick").mkdir()
    (folder / "table1.json").rename(folder / "quick" / "table1.json")
    why.main([NAME, "--profile", "quick", "--out", str(folder)])
    printed = capsys.readouterr().out
    assert "  sound clean ppn: 14.5 ± 0.25 dB, n 2\n" in printed
    # its runs lie beside it, and there are none
    assert "its record is not in" in printed


def test_committed_table_1_leads_to_its_records():
    """Every cell with a value of the committed Table I is found again, with its runs."""
    committed = json.loads((ROOT / "results" / "table1.json").read_text(encoding="utf-8"))
    known = [c for c in committed["cells"] if c["id"] and c["ours"] is not None]
    if not known:
        pytest.fail("results/table1.json has no value of ours")
    text = "\n".join(why.walk(known[0]["id"], ROOT / "results"))
    for one in known:
        if one["id"] == known[0]["id"]:
            assert f"{one['ours']:.6g}" in text
            for key in one["runs"]:
                assert f"run {key.partition('/')[0]}: " in text
                # the record of that backend, not of another one
                assert f"{key}.json" in text
    assert "cannot be read" not in text
