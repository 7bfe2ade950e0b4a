"""Fig. 6: networks trained on the chart, tested on curved samples, against ePIE.

Claim      Without fine-tuning no network matches ePIE, and PPN outperforms all other
           networks (section IV-D). No values are printed; phase is what is compared.
Command    python reproduce/fig6.py
Written    results/fig6.{csv,json,md,png,pdf}; ePIE's fields in results/epie

The networks are Table I's (block sound, noise-free); their patterns have half overlap.
The paper names no overlap, so ePIE is given both: the networks' own patterns, and those
at 75 %, which the paper asks of it. Samples: a Siemens star, a spiral, two photographs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, Record, run
from reproduce.options import run_script

METHODS = ("ppn", "ppn-released", "ptychonn", "ptynet", "dpi")
CNNS = ("ptychonn", "ptynet", "dpi")
KEY = ("sound", "clean")
CONVENTION = "per-image"

#: Metrics of the claims: Fig. 6 compares phase retrieval.
PHASE = ("mse_phase", "psnr_phase", "ssim_phase")

EPIE = {
    "epie": "ePIE on the networks' own patterns (step 16 px, half overlap)",
    "epie-75": "ePIE at 75 % overlap (step 8 px, four times as many patterns)",
}
SHORT = {"epie": "ePIE\n50 % overlap", "epie-75": "ePIE\n75 % overlap"}


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs of Table I, sound block, noise-free."""
    from reproduce import experiments

    return {KEY: experiments.table1(profile, object_name, seeds)[KEY]}


def make(here: Context) -> Output:
    """Compare all methods on every sample; draw two."""
    from reproduce import compare, evaluate, render, tables
    from reproduce.parts import orderings

    found = tables.by_method(here.found(*KEY))
    fields = reconstructions(here) if found else {}
    scores = epie_scores(here, fields, found)
    for method, runs in found.items():
        for seed, record in runs.items():
            for name, values in record["results"].get("curved", {}).items():
                scores.setdefault(name, {}).setdefault(method, {})[seed] = values
    every, claims, lines = [], [], about(here, found, scores)
    for name in evaluate.CURVED:
        methods = scores.get(name, {})
        cells = [
            orderings.value_cell(
                _values(runs, metric),
                method,
                name,
                metric,
                {seed: found[method][seed]["hash"] if method in found else "" for seed in runs},
            )
            for method, runs in methods.items()
            for metric in tables.METRICS
        ]
        claims += claims_of(methods, name, here.profile.name, found)
        every += cells
        if cells:
            lines += [f"## {name}", "", render.aligned(compare.markdown_table(_rows(cells)))]
    lines += ["## What section IV-D says (phase: MSE, PSNR, SSIM; paired over seeds)", ""]
    lines += [
        orderings.claim_line(claim, [c for c in claims if c.method in pairs])
        for claim, pairs in _claims().items()
    ]
    names = draw(here, fields) if fields else ()
    extra = {
        "epie": {
            f"{name}.{method}": {
                "errors": [float(f"{error:.6g}") for error in one["errors"]],
                "seconds": one["seconds"],
                "settings": one["settings"],
            }
            for (name, method), one in fields.items()
        }
    }
    return Output("\n".join(lines), [*every, *claims], figures=names, extra=extra)


def reconstructions(here: Context) -> dict[tuple[str, str], dict[str, Any]]:
    """Return ePIE's result by sample and method; it trains nothing and takes seconds."""
    from reproduce import evaluate
    from reproduce.parts import curved

    iterations, folder = curved.ITERATIONS[here.profile.name], here.session.out / "epie"
    return {
        (name, method): curved.find(name, method, here.session.object_name, iterations, folder)
        for name in evaluate.CURVED
        for method in EPIE
    }


def epie_scores(
    here: Context,
    fields: Mapping[tuple[str, str], Mapping[str, Any]],
    found: Mapping[str, Mapping[int, Record]],
) -> dict[str, dict[str, dict[int, Any]]]:
    """Score ePIE on the target scale of every seed's networks: sample, method, seed."""
    from ppn_tf.scaling import Scaling
    from reproduce.parts import curved

    ranges = {
        seed: Scaling.from_dict(record["results"]["scaling"])
        for runs in found.values()
        for seed, record in runs.items()
    }
    known: dict[Any, Any] = {}
    scores: dict[str, dict[str, dict[int, Any]]] = {}
    for (name, method), one in fields.items():
        for seed, scaling in sorted(ranges.items()):
            key = (name, method, scaling.amplitude_range, scaling.phase_range_rad)
            if key not in known:
                known[key] = curved.scores(one["field"], name, here.session.object_name, scaling)
            scores.setdefault(name, {}).setdefault(method, {})[seed] = known[key]
    return scores


def _values(runs: Mapping[int, Any], metric: str) -> dict[int, float]:
    from reproduce import tables

    channel, key, factor = tables.METRICS[metric]
    return {seed: factor * values[channel][CONVENTION][key] for seed, values in runs.items()}


def _claims() -> dict[str, list[str]]:
    networks = [*METHODS[:2], *CNNS]
    found = {
        f"no network matches {text}": [f"{method} - {network}" for network in networks]
        for method, text in EPIE.items()
    }
    for ours in METHODS[:2]:
        found[f"{ours} outperforms the CNNs"] = [f"{ours} - {cnn}" for cnn in CNNS]
    return found


def claims_of(
    methods: Mapping[str, Mapping[int, Any]],
    name: str,
    profile: str,
    found: Mapping[str, Mapping[int, Record]],
) -> list[Any]:
    """Test both sentences on one sample; networks are paired on one backend, ePIE has none."""
    from reproduce import paired
    from reproduce.parts import orderings

    def scores(pair: str) -> list[tuple[str, Mapping[int, Any]]]:
        one, other = pair.split(" - ")
        if one not in found or other not in found:
            return [(method, methods.get(method, {})) for method in (one, other)]
        both = zip((one, other), paired.pair(found, (one, other)), strict=True)
        return [
            (method, {s: run["results"]["curved"][name] for s, run in runs.items() if s in known})
            for method, runs in both
            for known in [methods.get(method, {})]
        ]

    return [
        orderings.ordering_cell(
            *((method, _values(runs, metric)) for method, runs in scores(pair)),
            name,
            metric,
            profile,
        )
        for pairs in _claims().values()
        for pair in pairs
        for metric in PHASE
    ]


def about(here: Context, found: Mapping[str, Any], scores: Mapping[str, Any]) -> list[str]:
    """Say what is compared, and what is missing."""
    from reproduce.parts import curved

    if not found:
        return ["No record yet: nothing to compare or to draw.", ""]
    networks = {m for methods in scores.values() for m in methods} - set(EPIE)
    lines = [
        f"Scores of patches, per image, over the seeds of Table I. ePIE: known probe, "
        f"{curved.ITERATIONS[here.profile.name]} iterations; global phase and scale fitted to the "
        "truth. Its patterns depend on no seed, so its spread is only that of the target range.",
        "",
        *(f"- {method}: {text}" for method, text in EPIE.items()),
        "",
    ]
    missing = [method for method in METHODS if method not in networks]
    if missing:
        why = " (a full evaluation is part of the profile paper alone)"
        lines += [
            f"No scores on curved samples yet: {', '.join(missing)}"
            f"{why if here.profile.evaluation != 'full' else ''}.",
            "",
        ]
    return lines


def _rows(cells: Sequence[Any]) -> list[dict[str, str]]:
    from reproduce.fig5 import table

    return table(cells)


def draw(here: Context, fields: Mapping[tuple[str, str], Mapping[str, Any]]) -> tuple[str, ...]:
    """Draw the phase of two samples, and below each the part with most detail."""
    import matplotlib.pyplot as plt

    from reproduce import evaluate, figures
    from reproduce.parts import panels, pictures

    names = [name for name in evaluate.KEPT_CURVED if (name, "epie") in fields]
    if not names:
        return ()
    columns = {name: _column(here, name, fields) for name in names}
    methods = list(dict.fromkeys(method for found in columns.values() for method in found))
    with figures.styled():
        # few columns, where records are missing, do not fill the page
        side = min(figures.PAGE_IN / len(methods), 1.3)
        figure, axes = plt.subplots(
            2 * len(names),
            len(methods),
            figsize=(min(figures.PAGE_IN, side * len(methods) + 0.9), 2 * len(names) * side + 0.55),
            squeeze=False,
        )
        for index, (name, found) in enumerate(columns.items()):
            limits = pictures.limits(found["truth"])
            box = pictures.finest(found["truth"], 64)
            for column, method in enumerate(methods):
                upper, lower = axes[2 * index : 2 * index + 2, column]
                if method not in found:
                    upper.axis("off"), lower.axis("off")
                    continue
                options = {"cmap": "gray", "vmin": limits[0], "vmax": limits[1]}
                image = panels.draw(upper, found[method], **options)
                pictures.mark(upper, box)
                panels.draw(lower, found[method][box], **options)
            axes[2 * index, 0].set_ylabel(f"{name}\n256 px")
            axes[2 * index + 1, 0].set_ylabel("zoom\n64 px")
            bar = figure.colorbar(
                image,
                ax=list(axes[2 * index : 2 * index + 2].flat),
                fraction=0.02,
                pad=0.01,
                aspect=30,
                label="phase (target scale)",
            )
            bar.ax.tick_params(labelsize=6)
            bar.outline.set_linewidth(0.4)
        panels.titles(axes[0], [SHORT.get(m, figures.NAMES.get(m, m)) for m in methods])
        return figures.save(figure, here.session.out, "fig6", panels.notes(here))


def _column(
    here: Context, name: str, fields: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the phase pictures of one sample by method, the truth first, of seed 0."""
    import numpy as np

    from ppn_tf import npzfile
    from ppn_tf.scaling import Scaling
    from reproduce.parts import curved

    runs = [(spec, record) for spec, record in here.found(*KEY) if spec.trivial is None]
    runs = [(spec, record) for spec, record in runs if spec.seed == 0]
    if not runs:
        return {}
    scaling = Scaling.from_dict(runs[0][1]["results"]["scaling"])
    found = {"truth": curved.truth(name, scaling)["phase"]}
    for method in EPIE:
        if (name, method) in fields:
            picture = curved.pictures(fields[name, method]["field"], name, scaling)
            found[method] = picture["phase"]
    kept = {}
    for spec, _ in runs:
        path = here.store.beside(spec, "npz")
        if path.exists():
            key = f"curved_{name}_phase"
            if key in (header.name for header in npzfile.headers(path)):
                kept[spec.method] = npzfile.read(path, (key,))[key].astype(np.float64)
    order = [*METHODS, *(method for method in kept if method not in METHODS)]
    return found | {method: kept[method] for method in order if method in kept}


EXHIBIT = Exhibit("fig6", "Fig. 6", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and make Fig. 6."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
