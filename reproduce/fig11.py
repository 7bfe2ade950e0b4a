"""Fig. 11: the weight of the combined loss, from 0.1 to 0.9, in both readings.

Claim      Consistent improvement as alpha increases from 0.2 to 0.9 (section V-B).
Command    python reproduce/fig11.py
Written    results/fig11.{csv,json,md,png,pdf}; runs in results/runs

The paper does not say which term alpha weights. With weight w the loss is
w NSSIM + (1 - w) MSE: alpha is w in one reading and 1 - w in the other, so that one sweep
answers both. The ends, MSE and NSSIM alone, and the further seeds at 0, 0.1, 0.9 and 1 are
runs of Table IV. Sound block only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

BLOCK = "sound"
#: Weights of NSSIM that each profile trains; 0 is MSE alone, 1 NSSIM alone.
WEIGHTS = {
    "smoke": (0.5,),
    "quick": (0.0, 0.5, 0.9),
    "paper": tuple(step / 10 for step in range(11)),
}
#: Weights that Table IV trains with more seeds in the paper profile.
WITH_SEEDS = (0.0, 0.1, 0.9, 1.0)
#: Range over which the paper sees consistent improvement.
CLAIMED = (0.2, 0.9)
#: Seed that all weights share.
SEED = 0


def loss_of(weight: float) -> str:
    """Return the loss of a weight of NSSIM."""
    return {0.0: "mse", 1.0: "nssim"}.get(weight, f"combined:{weight:g}")


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs of Fig. 11."""
    from reproduce import experiments

    count = experiments.seed_count("fig11", profile, seeds)
    more = experiments.seed_count("table4", profile, seeds)
    return {
        (BLOCK, "clean"): [
            experiments.run_spec(
                "ppn",
                seed,
                profile,
                object_name,
                experiments.block(BLOCK),
                loss=loss_of(weight),
            )
            for seed in range(max(count, more))
            for weight in WEIGHTS[profile.name]
            if seed < count or weight in WITH_SEEDS
        ]
    }


def make(here: Context) -> Output:
    """Set scores against the weight, and judge the claimed improvement."""
    from reproduce import compare, experiments, paired, render, tables
    from reproduce.parts import loss_analysis, loss_report

    block = experiments.block(BLOCK)
    found = tables.by_method(here.found(BLOCK, "clean"), lambda spec: spec.training.loss)
    weights = [w for w in WEIGHTS[here.profile.name] if SEED in found.get(loss_of(w), {})]
    methods = {loss_of(weight): None for weight in WEIGHTS[here.profile.name]}
    comparison = tables.Comparison("table4", metrics=tables.SHORT)
    cells = tables.cells(found, methods, block, "clean", here.profile.name, comparison)
    shared = {weight: found[loss_of(weight)][SEED] for weight in weights}
    trend = loss_analysis.trend(shared, block, CLAIMED)
    spread = loss_analysis.seed_spread(found.values(), block)
    cells += _claims(here, trend["nssim"], [paired.name(record) for record in shared.values()])
    rows = render.layout([cell for cell in cells if cell.method in methods and cell.n])
    missing = [f"{w:g}" for w in WEIGHTS[here.profile.name] if w not in weights]
    body = [
        render.aligned(compare.markdown_table(rows)) if rows else "No run is there yet.\n",
        f"Mean ± standard deviation over n seeds; {block.name}: {render.describe(block)}.",
        "",
        *([f"Weights without a run of seed {SEED}: {', '.join(missing)}.", ""] if missing else []),
        *loss_report.trend_text(trend, spread, CLAIMED),
    ]
    figures: Sequence[str] = ()
    if weights:
        by_weight = {w: found.get(loss_of(w), {}) for w in WEIGHTS[here.profile.name]}
        figures = loss_report.draw_sweep(here, "fig11", by_weight, SEED, block)
    extra = {"weights": weights, "trend": trend, "seed_sd": spread}
    return Output("\n".join(body), cells, rows, figures, extra)


def _claims(here: Context, trend: Mapping[str, Any], runs: Sequence[str]) -> list[Any]:
    """Compare the claimed range and the best weight, alpha read as weight of NSSIM."""
    from reproduce import compare, tables

    paper = compare.load_paper()
    how = {
        "min": "first alpha of the longest range over which all four scores rise, seed 0, alpha "
        "as weight of NSSIM",
        "max": "last alpha of that range",
        "best": "alpha with the best sum of ranks over the four scores, seed 0, alpha as weight "
        "of NSSIM",
    }
    cells = []
    for key, formula in how.items():
        published = paper[f"claims.combined_loss_alpha_{key}"]
        ours = trend[key]
        judged = None
        if ours is not None:
            judged = compare.verdict(
                published, ours, None, 1, column_gap=None, profile=here.profile.name
            )
        cells.append(
            tables.Cell(
                published.id,
                "",
                BLOCK,
                "ppn",
                f"alpha_{key}",
                published.value,
                published.sd,
                ours,
                None,
                1 if ours is not None else 0,
                judged and judged.to_dict(),
                tuple(runs),
                published.unit,
                formula,
            )
        )
    return cells


EXHIBIT = Exhibit("fig11", "Fig. 11", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Fig. 11."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
