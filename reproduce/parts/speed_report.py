"""Tables and figure of `reproduce/speed.py`, from its rows alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppn_tf.files import write_json, write_text

Rows = Mapping[str, Mapping[str, Any]]

#: Pairs that are compared: the block-wise row, and its references.
PAIRS = {
    name: (f"{name}-block", (f"{name}-plain", f"{name}-plain-graph"))
    for name in ("ppn-released", "ppn", "PoCA-layer")
}
NUMBERS = ("train_step_s", "predict_s", "peak_mib", "peak_above_start_mib")


def write(rows: Sequence[Mapping[str, Any]], out: Path) -> str:
    """Write all outputs of the rows that are there; return the text for the screen."""
    by_name = {row["row"]: row for row in rows}
    ratios = {name: found for name in PAIRS if (found := ratio(by_name, name))}
    models = [
        dict(row)
        for row in rows
        if row["model"] not in ("", "PoCA layer")
        and row["attention"] != "plain"
        and row["side_px"] == 32
    ]
    # the plan of trainings reads them: those not measured this time stay
    measured = {row["model"] for row in models}
    models += [row for row in _before(out) if row["model"] not in measured]
    write_json(out / "speed.json", {"rows": list(rows), "ratios": ratios, "models": models})
    figures = draw(by_name, ratios, out) if ratios else ()
    text = body(by_name, ratios)
    lines = [text, *(f"![{name}]({name})" for name in figures if name.endswith(".png"))]
    write_text(out / "speed.md", "\n".join(lines) + "\n")
    return text


def _before(out: Path) -> list[dict[str, Any]]:
    try:
        record = json.loads((out / "speed.json").read_text(encoding="utf-8"))
        return [row for row in record["models"] if row["device"] and row["train_step_s"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def ratio(rows: Rows, name: str) -> dict[str, float] | None:
    """Return plain over block, each number against the better of the plain rows."""
    block, references = PAIRS[name]
    plain = [rows[reference] for reference in references if reference in rows]
    if block not in rows or not plain:
        return None
    return {
        key: round(min(row[key] for row in plain) / rows[block][key], 2)
        for key in NUMBERS
        if key in rows[block]
    }


def body(rows: Rows, ratios: Mapping[str, Mapping[str, float]]) -> str:
    """Return the Markdown document."""
    from reproduce.compare import markdown_table
    from reproduce.render import aligned

    def table(lines: Sequence[Mapping[str, Any]]) -> str:
        return aligned(markdown_table(lines))

    networks = [row for row in rows.values() if row["model"]]
    names = ("row", "side_px", "batch", "train_step_s", "predict_s")
    names += ("patterns_per_s", "first_result_s", "peak_mib", "peak_above_start_mib")
    devices = ", ".join(dict.fromkeys(row["device"] for row in rows.values()))
    parts = [f"# Speed, {devices or 'nothing measured'}", ""]
    if networks:
        parts += [
            "float32; medians after compilation, each row in fresh processes. `plain` has the "
            "N x N weights of the authors' code, compiled by XLA as Keras does by itself; "
            "`plain-graph` the same without XLA.",
            "",
            table([{name: row.get(name) for name in names} for row in networks]),
        ]
    if ratios:
        parts += [
            "Plain over block, against the better of the two plain rows:",
            "",
            table([{"network": name, **values} for name, values in ratios.items()]),
        ]
    epie = [row for name, row in rows.items() if name.startswith("epie")]
    if epie:
        names = ("row", "compiled_us", "numpy_us", "ratio", "object_distance", "error_distance")
        parts += [
            "ePIE: microseconds a visit of one position, compiled and as a NumPy loop with "
            "scipy.fft; relative distance of the objects after one sweep, and of the error "
            "curves over 20.",
            "",
            table([{name: row.get(name) for name in names} for row in epie]),
        ]
        lines = [
            {"row": row["row"], "batch": batch, "R-factor after 20": value}
            | {"us a position": row["batched_us"].get(batch, row["compiled_us"])}
            for row in epie
            for batch, value in row.get("r_factor_20", {}).items()
        ]
        if lines:
            parts += ["The same with the updates of a batch made at once:", "", table(lines)]
    others = [rows[name] for name in ("simulation", "stitching", "psd", "start") if name in rows]
    if others:
        lines = [
            {"what": f"{row['row']}: {key.removesuffix('_s')}", "seconds": value}
            for row in others
            for key, value in row.items()
            if key.endswith("_s")
        ]
        parts += [
            "Other work: patterns of the 61 x 61 scan without and with noise, 26,000 patches "
            "stitched, mean power spectrum of 3,721 patches, fresh interpreters.",
            "",
            table(lines),
        ]
    return "\n".join(parts)


def draw(rows: Rows, ratios: Mapping[str, Mapping[str, float]], out: Path) -> tuple[str, ...]:
    """Draw times and memory of plain and block-wise attention as bars."""
    import matplotlib.pyplot as plt
    import numpy as np

    from reproduce import figures

    titles = {
        "train_step_s": "training step [s]",
        "predict_s": "prediction of a batch [s]",
        "peak_above_start_mib": "peak memory above start [MiB]",
    }
    with figures.styled():
        figure, axes = plt.subplots(1, 3, figsize=(figures.PAGE_IN, 2.4), layout="constrained")
        for axis, (key, title) in zip(axes, titles.items(), strict=True):
            names = [name for name in ratios if key in ratios[name]]
            for shift, kind in ((-0.2, "plain"), (0.2, "block")):
                values = []
                for name in names:
                    block, references = PAIRS[name]
                    found = references if kind == "plain" else (block,)
                    values.append(min(rows[row][key] for row in found if row in rows))
                color = "#999999" if kind == "plain" else "#D55E00"
                places = np.arange(len(names)) + shift
                axis.bar(places, values, 0.38, color=color, label=kind)
            for place, name in enumerate(names):
                top = axis.get_ylim()[1]
                axis.text(place, 1.01 * top, f"{ratios[name][key]:g} x", ha="center", fontsize=7)
            axis.set_xticks(range(len(names)), names, fontsize=7)
            axis.set_title(title, pad=14)
        axes[0].legend(frameon=False, title="attention", fontsize=7, title_fontsize=7)
        return figures.save(figure, out, "speed")
