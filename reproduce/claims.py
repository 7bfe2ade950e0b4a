"""The text: every number that it claims, recomputed from the paper and from our runs.

Claim      Every percentage, ratio and number of the running text: against the paper's own
           tables, against our records, or in the exhibit that answers it.
Command    python reproduce/claims.py
Written    results/claims.{csv,json,md}

Nothing is trained here: the records are those of Tables I and II, and what other exhibits
answer is read from their files in the same folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, command, run
from reproduce.options import run_script

#: Exhibit to the claims that it answers, without ``claims.``.
ELSEWHERE = {
    "fig4": (
        "mid_frequency_attenuation_min",
        "mid_frequency_attenuation_max",
        "mid_band_share_cnn",
        "high_band_share_ppn",
        "high_band_share_truth",
    ),
    "fig7": (
        "small_training_patches",
        "initialisations",
        "ppn_psnr_amp_drop_percent",
        "ppn_psnr_phase_drop_percent",
        "ptychonn_psnr_amp_drop_percent",
        "ptychonn_psnr_phase_drop_percent",
        "overlap_training_patches",
        "overlap_psnr_amp_min",
        "overlap_psnr_amp_max",
        "overlap_ssim_amp_min",
        "overlap_ssim_amp_max",
        "overlap_anova_p",
    ),
    "fig8": (
        "epie_iterations_min",
        "epie_iterations_max",
        "epie_overlap_min_percent",
        "epie_overlap_max_percent",
        "ppn_ssim_min",
        "ppn_ssim_max",
        "epie_ssim_overlap_90",
        "epie_ssim_overlap_30",
        "ppn_seconds_overlap_30",
        "epie_seconds_overlap_30",
        "speedup_overlap_30",
        "speedup_overlap_60",
        "speedup_headline",
        "degradation_overlap_30_percent",
        "combined_efficiency",
        "acquisition_ratio_90_30",
    ),
    "fig11": (
        "combined_loss_alpha_min",
        "combined_loss_alpha_max",
        "combined_loss_alpha_best",
    ),
}

#: Exhibit to the claims that are answered here from its runs or counts, likewise.
RESTS_ON = {
    "table1": (
        "mse_amp_vs_ptychonn_percent",
        "psnr_amp_vs_ptychonn_percent",
        "anova_p_max",
        "v1_psnr_percent",
        "v1_ssim_percent",
    ),
    "table2": (
        "mhsa_psnr_amp_drop_percent",
        "mhsa_ssim_amp_drop_percent",
        "without_decoder_psnr_amp_drop_percent",
        "without_decoder_ssim_amp_drop_percent",
    ),
    "fig10": ("flops_vs_dpi_percent", "flops_vs_ptychoformer_percent"),
}

#: First name of the keys of Table II's runs.
_ABLATION = "table2"


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs that are read: those of Tables I and II."""
    from reproduce import experiments, table2

    return experiments.table1(profile, object_name, seeds) | {
        (_ABLATION, *key): specs for key, specs in table2.grid(profile, object_name, seeds).items()
    }


def make(here: Context) -> Output:
    """Answer every claim."""
    from reproduce import compare
    from reproduce.parts import arithmetic, claims_text, derived, settings

    profile = here.profile.name
    paper = compare.load_paper()
    findings = arithmetic.findings(paper)
    measured, tested = from_records(here, paper)
    cells = [
        *settings.set_up(paper, here.session.object_name, profile),
        *measured,
        *settings.sizes(paper, profile),
        *settings.operations(paper, profile, read_cells(here.session.out / "fig10.json")),
    ]
    statements = derived.statements(tested)
    elsewhere = from_exhibits(here.session.out, profile)
    body = "\n".join(
        [
            *claims_text.against_itself(findings),
            *claims_text.by_our_runs(cells, statements, here.blocks()),
            *claims_text.elsewhere(elsewhere, paper),
            *claims_text.by_eye(),
        ]
    )
    extra = {
        "arithmetic": [finding.to_dict() for finding in findings],
        "statements": statements,
        "statistics": tested,
        "elsewhere": elsewhere,
    }
    return Output(body, cells, extra=extra)


def from_records(here: Context, paper: Mapping[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return the cells that records answer, and the tests behind them."""
    from reproduce import experiments, tables
    from reproduce.parts import derived

    profile = here.profile.name
    found: list[tables.Cell] = []
    tested: list[dict[str, Any]] = []
    for key in here.grid:
        if key[0] == _ABLATION:
            continue
        name, condition = key
        block = experiments.block(name)
        records = tables.by_method(here.found(*key))
        clean = condition == "clean"
        for ppn in derived.PPN:
            tests = tables.tests(records, (*derived.CNNS, ppn), derived.CNNS, block, condition)
            tested += tests
            found += derived.significance(paper, tests, profile)
            found += [
                derived.percent(paper, records, wanted, ppn, block, condition, profile)
                for wanted in (derived.COMPARISON if clean else derived.SIMILAR)
            ]
            if clean:
                ablation = tables.by_method(_ablation(here, name))
                found += [
                    derived.percent(paper, ablation, wanted, ppn, block, condition, profile)
                    for wanted in derived.ABLATION
                ]
    return found, tested


def _ablation(here: Context, block: str) -> list[Any]:
    keys = [key for key in here.grid if key[0] == _ABLATION and block in key]
    return [pair for key in keys for pair in here.found(*key)]


def from_exhibits(out: Path, profile: str) -> dict[str, dict[str, Any]]:
    """Return what other exhibits wrote about the claims that they answer.

    Parameters
    ----------
    out : Path
        Folder of the exhibits' files.
    profile : str

    Returns
    -------
    dict
        Id to ``exhibit``, ``command`` and ``cells``; no cells where the exhibit has
        not been made, or does not name the claim.
    """
    found = {}
    for exhibit, names in ELSEWHERE.items():
        cells = read_cells(Path(out) / f"{exhibit}.json")
        for name in names:
            key = f"claims.{name}"
            found[key] = {
                "exhibit": exhibit,
                "command": command(exhibit, profile),
                "cells": [cell for cell in cells if cell.get("id") == key],
            }
    return found


def read_cells(path: Path) -> list[Mapping[str, Any]]:
    """Return the cells of an exhibit's file; none where it has not been made."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError) as error:
        print(f"warning: {path} is no exhibit's file and is left out: {error!r}", file=sys.stderr)
        return []


EXHIBIT = Exhibit("claims", "Claims of the text", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the claims from the records there are."""
    given = sys.argv[1:] if argv is None else argv
    # Tables I and II train their runs; this reads them
    run(EXHIBIT, __doc__, [*given, "--no-train"])


if __name__ == "__main__":
    run_script(main)
