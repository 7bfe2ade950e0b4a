"""Numbers of the text that neither training nor records decide: set-up and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare
from reproduce.tables import Cell


def cell(
    published: compare.Published, method: str, ours: float | None, how: str, profile: str | None
) -> Cell:
    """Compare a number that depends on no seed with the published one.

    Parameters
    ----------
    published : Published
    method : str
        What it is a number of; empty where there is no choice.
    ours : float or None
        In the published unit.
    how : str
    profile : {"smoke", "quick", "paper"} or None
        None for a setting: it was copied from the paper, so that it gets no verdict.
    """
    judged = None
    if None not in (ours, profile):
        judged = compare.verdict(published, ours, None, None, column_gap=None, profile=profile)
    return Cell(
        published.id,
        "",
        "",
        method,
        "",
        published.value,
        published.sd,
        ours,
        None,
        None,
        judged and judged.to_dict(),
        (),
        published.unit,
        how,
    )


def set_up(paper: Mapping[str, compare.Published], object_name: str, profile: str) -> list[Cell]:
    """Measure the scan and its split on the data, and list the settings of training."""
    from ppn_tf import data
    from reproduce.experiments import EPOCHS, block
    from reproduce.specification import TrainingConfig

    scan = data.load(object_name)
    train = data.train_indices(scan)
    fitted, validation = data.split_validation(train, 0)
    window_px = scan.patterns.shape[-1]
    training = TrainingConfig(EPOCHS["ppn"])
    rows = (
        ("object_side_px", min(scan.object_shape), "shorter side of the object"),
        ("patch_side_px", window_px, "side of a diffraction pattern"),
        ("overlap_percent", 100 * (1 - _step_px(scan) / window_px), "100 (1 - step / patch)"),
        ("grid_side", scan.grid_shape[0], "rows of the simulated scan"),
        ("patches", len(scan.patterns), "patches of the simulated scan"),
        ("train_patches", len(train), "patches in rows 0-47 of the scan"),
        ("train_percent", 100 * len(train) / len(scan.patterns), "their share of all patches"),
        (
            "test_percent",
            100 * (1 - len(train) / len(scan.patterns)),
            "the other rows; each block says which of them it tests",
        ),
        (
            "validation_percent",
            100 * len(validation) / len(train),
            f"{len(validation)} of {len(train)} patches; {len(fitted)} are fitted",
        ),
    )
    settings = (
        ("jitter_px", block("text").jitter_px, "of block text; the authors' code has none"),
        ("batch_size", training.batch_size, "of all runs"),
        ("learning_rate", training.learning_rate, "of all runs, that of the authors' code"),
        ("plateau_factor", training.plateau_factor, "of all runs"),
        ("plateau_min_delta", training.plateau_min_delta, "of all runs"),
        ("plateau_patience", training.plateau_patience, "of all runs"),
    )
    # the scan was made as the paper says, so that equal numbers are no result
    found = [cell(paper[f"claims.{name}"], "", ours, how, None) for name, ours, how in rows]
    found += [
        cell(paper[f"claims.{name}"], "", ours, f"setting {how}", None)
        for name, ours, how in settings
    ]
    return found + _measured_scan(paper, profile)


def _measured_scan(paper: Mapping[str, compare.Published], profile: str) -> list[Cell]:
    """Count the paper's measured scan, where its files are on this computer."""
    from reproduce.parts import real

    side = patterns = None
    how = "scan 20191008_39 is not on this computer: fig5 says how to get it"
    if real.object_name(profile) == "scan-39":
        scan = real.load("scan-39")
        side, patterns = scan.grid_shape[0], len(scan.patterns)
        how = "scan 20191008_39"
    return [
        cell(paper["claims.real_patterns"], "", patterns, how, profile),
        cell(paper["claims.real_grid_side"], "", side, how, profile),
    ]


def _step_px(scan: object) -> float:
    """Return the distance between the first two positions of the first row."""
    return float(scan.positions_px[1, 1] - scan.positions_px[0, 1])


def sizes(
    paper: Mapping[str, compare.Published],
    profile: str,
    ppn_forms: Sequence[str] = ("ppn", "ppn-released"),
) -> list[Cell]:
    """Count the parameters of PPN and PtychoFormer."""
    from ppn_tf import complexity, models

    def count(name: str) -> int:
        return complexity.parameter_counts(models.create(name)).total

    other = count("ptychoformer")
    how = "all parameters of the network, BatchNorm statistics included"
    found = [
        cell(paper["claims.params_ptychoformer_million"], "ptychoformer", other / 1e6, how, profile)
    ]
    for ppn in ppn_forms:
        own = count(ppn)
        found += [
            cell(paper["claims.params_ppn_million"], ppn, own / 1e6, how, profile),
            cell(
                paper["claims.params_ratio_ptychoformer"],
                ppn,
                other / own,
                f"{other:,} / {own:,} parameters",
                profile,
            ),
            cell(
                paper["claims.params_vs_ptychoformer_percent"],
                ppn,
                100 * (1 - own / other),
                f"100 (1 - {own:,} / {other:,} parameters)",
                profile,
            ),
        ]
    return found


def operations(
    paper: Mapping[str, compare.Published], profile: str, counted: Sequence[Mapping[str, Any]]
) -> list[Cell]:
    """Compare the operations of networks, as Fig. 10 counted them.

    Parameters
    ----------
    paper : mapping of str to Published
    profile : {"smoke", "quick", "paper"}
    counted : sequence of mappings
        Cells of Fig. 10; none where it has not been made.
    """
    gflops = {
        found["method"]: found["ours"]
        for found in counted
        if found.get("metric") == "gflops" and found.get("ours") is not None
    }
    found = []
    for ppn in ("ppn", "ppn-released"):
        for other in ("dpi", "ptychoformer"):
            published = paper[f"claims.flops_vs_{other}_percent"]
            how = "operations are counted by `python reproduce/fig10.py --no-train`"
            ours = None
            if {ppn, other} <= gflops.keys():
                ours = 100 * (1 - gflops[ppn] / gflops[other])
                how = f"100 (1 - {gflops[ppn]:.4g} / {gflops[other]:.4g} GFLOP), from fig10"
            found.append(cell(published, ppn, ours, how, profile))
        found += [
            Cell(
                None,
                "",
                "",
                ppn,
                f"operations over those of {other}",
                None,
                None,
                gflops[ppn] / gflops[other],
                None,
                None,
                None,
                (),
                "ratio",
                "comparable to a lightweight CNN? from fig10",
            )
            for other in ("ptychonn", "ptynet")
            if {ppn, other} <= gflops.keys()
        ]
    return found
