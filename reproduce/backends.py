"""Do records of TensorFlow and of JAX agree? The same runs made on both, side by side.

Claim      None of the paper's. Records of either backend answer for published numbers: so the
           backend should be worth less than the seed. A few seeds cannot settle it.
Command    python reproduce/backends.py                     (on the active backend)
           KERAS_BACKEND=jax python reproduce/backends.py   (on the other)
           Both with --profile quick --seeds 5 --out results/backends: minutes, not hours
Written    results/backends.{json,md}; runs in results/runs

PtyNet of Table I, noise-free, the sound block; and each other network of that half that
happens to have two runs of either backend, which this command does not train. One seed
fixes split and batch order on both backends, but not the initial weights: so the runs are
two groups, not pairs.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

if TYPE_CHECKING:
    from reproduce.experiments import Block
    from reproduce.specification import RunSpec

MODEL = "ptynet"
#: Compared where records of both backends are there, not trained for it.
OTHERS = ("ppn", "ppn-released", "ptychonn", "dpi")
BLOCK = "sound"
BACKENDS = ("tensorflow", "jax")
SEEDS = 3

#: Where short trainings on both backends lie, in the folder of the outputs.
REDUCED = Path("backends") / "quick"


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs that both backends make."""
    from reproduce import experiments

    block = experiments.block(BLOCK)
    return {
        (BLOCK, "clean"): [
            experiments.run_spec(MODEL, seed, profile, object_name, block)
            for seed in range(seeds or (SEEDS if profile.name == "paper" else 1))
        ]
    }


def make(here: Context) -> Output:
    """Compare the two groups metric by metric."""
    from reproduce import experiments

    block = experiments.block(BLOCK)
    found = records(here, here.grid[BLOCK, "clean"])
    rows = [] if min(map(len, found.values())) < 2 else compare(found, block)
    nothing = ["Two runs of each backend are the least: nothing to say yet."]
    lines = [_headline(MODEL, found), "", *(_table(rows) if rows else nothing)]
    others = {} if here.profile.name != "paper" else _others(here, block)
    for model, (own, compared) in others.items():
        lines += ["", _headline(model, own), "", *_table(compared)]
    lines += _reduced(here)
    extra = {"metrics": rows, "runs": _hashes(found)}
    extra["others"] = {
        model: {"metrics": compared, "runs": _hashes(own)}
        for model, (own, compared) in others.items()
    }
    return Output("\n".join(lines), extra=extra)


#: Said where the backends did not run on one kind of device.
_TF32 = (
    "So backend and device differ together: a GPU that has TF32 multiplies float32 matrices with "
    "it by default, with 10 bits of the mantissa, and a CPU does not."
)


def _headline(model: str, found: Mapping[str, Sequence[Any]]) -> str:
    counts = ", ".join(f"{backend} {len(runs)}" for backend, runs in found.items())
    made_on = {
        backend: sorted({record["environment"]["device"] for record in runs})
        for backend, runs in found.items()
    }
    text = f"{model}, noise-free, {BLOCK} block; finished runs: {counts}."
    for backend, names in made_on.items():
        text += f" {backend} on {', '.join(names)}." if names else ""
    kinds = {name.startswith("CPU") for names in made_on.values() for name in names}
    return text if len(kinds) < 2 else f"{text} {_TF32}"


def _others(
    here: Context, block: Block
) -> dict[str, tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]]:
    """Return records and comparison of each other network with two runs of either backend."""
    from reproduce import experiments

    runs = experiments.table1(here.profile, here.session.object_name)[BLOCK, "clean"]
    compared = {}
    for model in OTHERS:
        specs = [spec for spec in runs if spec.model == model]
        found = records(here, specs)
        if min(map(len, found.values())) > 1:
            compared[model] = found, compare(found, block)
    return compared


def _reduced(here: Context) -> list[str]:
    """Return the comparison of short trainings, where the folder has one and this is not it."""
    from reproduce import experiments

    path = here.session.out / REDUCED / "backends.json"
    if here.profile.name != "paper" or not path.exists():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    counts = ", ".join(f"{name} {len(runs)}" for name, runs in document["runs"].items())
    return [
        "",
        f"Short trainings of the same network ({experiments.PROFILES['quick'].note}; finished "
        f"runs: {counts}):",
        "",
        *_table(document["metrics"]),
    ]


def records(here: Context, specs: Sequence[RunSpec]) -> dict[str, list[dict[str, Any]]]:
    """Return the finished runs of each backend, whichever is active."""
    from reproduce.runs import read_record

    paths = {
        backend: [here.store.folder / spec.hash / f"{backend}.json" for spec in specs]
        for backend in BACKENDS
    }
    return {
        backend: [read_record(path) for path in own if path.exists()]
        for backend, own in paths.items()
    }


def compare(found: Mapping[str, Sequence[Mapping[str, Any]]], block: Block) -> list[dict[str, Any]]:
    """Compare the means of two groups of runs.

    Parameters
    ----------
    found : mapping
        Backend to its records, at least two each.
    block : Block

    Returns
    -------
    list of dict
        One per metric: mean and sd of each backend, their difference with Welch's 95 %
        interval, and the seed-to-seed sd that it is to be held against (pooled).
    """
    from scipy import stats

    from reproduce import tables

    rows = []
    for metric in tables.METRICS:
        groups = [
            [tables.value(record, block, metric) for record in found[backend]]
            for backend in BACKENDS
        ]
        interval = stats.ttest_ind(*groups, equal_var=False).confidence_interval(0.95)
        variances = [statistics.variance(group) for group in groups]
        weights = [len(group) - 1 for group in groups]
        pooled = sum(w * v for w, v in zip(weights, variances, strict=True)) / sum(weights)
        means = [statistics.fmean(group) for group in groups]
        rows.append(
            {
                "metric": metric,
                "n": [len(group) for group in groups],
                "mean": means,
                "sd": [variance**0.5 for variance in variances],
                "difference": means[0] - means[1],
                "ci95": [float(interval.low), float(interval.high)],
                "seed_sd": pooled**0.5,
            }
        )
    return rows


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    from reproduce import compare as rules
    from reproduce import render, tables

    def entry(row: Mapping[str, Any]) -> dict[str, str]:
        form = tables.FORMATS[row["metric"]]
        low, high = row["ci95"]
        own = {
            f"{backend} (n {n})": f"{mean:{form}} ± {sd:{form}}"
            for backend, n, mean, sd in zip(BACKENDS, row["n"], row["mean"], row["sd"], strict=True)
        }
        return {
            "metric": tables.HEADINGS[row["metric"]],
            **own,
            "difference": f"{row['difference']:+{form}}",
            "95 % interval": f"{low:+{form}} to {high:+{form}}",
            "over seed sd": f"{abs(row['difference']) / row['seed_sd']:.2f}",
        }

    beyond = [row["metric"] for row in rows if row["ci95"][0] > 0 or row["ci95"][1] < 0]
    worst = max(abs(row["difference"]) / row["seed_sd"] for row in rows)
    said = (
        f"The interval excludes 0 in {', '.join(beyond)}."
        if beyond
        else "No interval excludes 0. So few seeds cannot show that the backends are equal; they "
        "would show a difference of several seed spreads."
    )
    return [
        render.aligned(rules.markdown_table([entry(row) for row in rows])),
        f"{said} The largest difference of means is {worst:.2f} times the seed-to-seed sd.",
    ]


def _hashes(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[str]]:
    return {backend: [record["hash"] for record in runs] for backend, runs in found.items()}


EXHIBIT = Exhibit("backends", "TensorFlow and JAX", grid, make, own_backend=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing on the active backend and compare."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
