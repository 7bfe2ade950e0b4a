"""A network trained for a measured probe alone, on measured patterns that it never saw.

Claim      None of the paper's, whose networks on measured data are trained on the same
           scan's reconstruction. Here scan 247 gives its probe and its counts; the objects
           of training are drawn. Then the network reconstructs the measured patterns.
Command    python reproduce/real_probe.py
Written    results/real_probe.{json,md,png,pdf}; record and fields in results/real_probe

The probe is ePIE's from positions outside the held-out block. The reference is ePIE on
the whole scan: a reconstruction, not the truth. Beside every network stands a predictor
that looks at no pattern. `all.py` makes this exhibit when it is named (--only real_probe).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

REGIONS = {"held-out": "held-out block", "whole": "whole scan"}

NO_DATA = "Scan 247 was not found on this computer (`ppn-tf fetch`): nothing to train for."


def settings(profile: str) -> Any:
    """Return what a profile does."""
    from reproduce.parts.probe_training import Settings

    return {
        "smoke": Settings(2, 2, 64, (("ptynet", 1),), 1),
        "quick": Settings(20, 30, 1024, (("ptynet", 5),), 10),
        "paper": Settings(50, 200, 8192, (("ptychonn", 20), ("ptynet", 40)), 20),
    }[profile]


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return no runs: training is this exhibit's own."""
    return {}


def found(here: Context) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return record and fields; make them where they are missing and may be made."""
    import time

    import numpy as np

    from ppn_tf.files import replacing, write_json
    from reproduce.parts import probe_scores

    session, wanted = here.session, settings(here.profile.name)
    folder = session.out / "real_probe"
    path, fields = (folder / f"{wanted.hash}.{ending}" for ending in ("json", "npz"))
    before, _ = recorded(here)
    complete = before is not None and before["results"]["refinement"] and fields.exists()
    if session.train and (session.retrain or not complete):
        if session.retrain:
            for old in folder.glob(f"{wanted.hash}-*"):
                old.unlink()
        began = time.perf_counter()
        for results, arrays in probe_scores.measure(wanted, folder):
            with replacing(fields) as temporary, temporary.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
            record = {
                "settings": wanted.to_dict(),
                "results": results,
                "seconds": round(time.perf_counter() - began, 1),
                "environment": here.store.environment(),
            }
            write_json(path, record)
    return recorded(here)


def recorded(here: Context) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return record and fields, None and nothing where they are not there.

    Raises
    ------
    RecordError
        If they cannot be read.
    """
    import json

    import numpy as np

    from ppn_tf.errors import RecordError

    wanted = settings(here.profile.name)
    folder = here.session.out / "real_probe"
    path, fields = (folder / f"{wanted.hash}.{ending}" for ending in ("json", "npz"))
    if not path.exists():
        return None, {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        arrays = {}
        if fields.exists():
            with np.load(fields, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({error}): delete it to measure again") from error
    return record, arrays


def make(here: Context) -> Output:
    """Tabulate and draw."""
    from ppn_tf import data
    from ppn_tf.data.nanoprobe import SCAN_247
    from ppn_tf.errors import SourceMissingError

    about = "scan 247, networks that know its probe alone"
    try:
        data.fetch(SCAN_247, download=False)
        record, arrays = found(here)
    except SourceMissingError:
        return Output(NO_DATA, about=about)
    if record is None:
        return Output("No record yet.", about=about)
    names = draw(here, record, arrays) if arrays else ()
    return Output("\n".join(body(record)), figures=names, extra={"record": record}, about=about)


def body(record: Mapping[str, Any]) -> list[str]:
    """Return the text."""
    from reproduce import compare, render

    wanted, results = record["settings"], record["results"]
    sizes = results["sizes"]
    trained = ", ".join(f"{name} {epochs} epochs" for name, epochs in wanted["epochs"].items())
    lines = [
        f"Training: {wanted['patches']} patterns of drawn objects with the three modes of the "
        f"probe that {wanted['probe_iterations']} iterations of ePIE find outside the held-out "
        "block, at the scan's counts with Poisson noise; detector 128 px summed over 4 x 4 px, "
        f"patches as in Fig. 5. {trained}. A pattern does not hold the phase of its window: each "
        "target counts from the mean phase that the light sees (their root mean square is "
        f"{sizes['phase_taken_off_rad']:.2f} rad), and patches are turned to each other where "
        "they overlap.",
        "",
        f"Reference: {wanted['label_iterations']} iterations of ePIE on the whole scan (R-factor "
        f"{sizes['label_r'][0]:.3f} to {sizes['label_r'][1]:.3f}). Global phase, scale and ramp "
        "are taken out. Correlations are Pearson's; the error is that of the complex field, "
        "relative; FRC: the longest run of frequencies, over Nyquist of the averaged pixels, at "
        "which the ring correlation is 0.5 or more.",
        "",
    ]
    for name, title in REGIONS.items():
        rows, cols = sizes["boxes_px"][name]
        patches = sizes["test" if name == "held-out" else "patches"]
        lines += [f"## {title}: {patches} patches, box of {rows} x {cols} px", ""]
        table = [_row(method, one) for method, one in results["scores"][name].items()]
        lines += [render.aligned(compare.markdown_table(table))]
    lines += ["## As starts of ePIE on this scan", "", *refinement_lines(record)]
    return lines


def _row(method: str, scores: Mapping[str, Any]) -> dict[str, str]:
    from ppn_tf import spectrum

    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    band = spectrum.widest_band(scores["frc_axis"], scores["frc"])
    return {
        "method": method,
        "amplitude r": text(scores["amplitude"]),
        "phase r": text(scores["phase"]),
        "error": text(scores["error"]),
        "FRC 0.5 or more": "nowhere" if band is None else f"{band[0]:.3f} to {band[1]:.3f}",
    }


def refinement_lines(record: Mapping[str, Any]) -> list[str]:
    """Say how ePIE goes on from each start on the measured patterns."""
    from reproduce import compare, render

    found = record["results"]["refinement"]
    if not found:
        return ["Not measured yet: the same command goes on.", ""]
    rows = []
    for name, one in found.items():
        row = {"start": name}
        for at, k in enumerate(one["iterations"]):
            row[f"after {k}"] = f"{one['r_curve'][at]:.3f}, {one['error_curve'][at]:.3f}"
        rows.append(row)
    return [
        "R-factor, and error of the object against the reference in the lit area (phase, scale "
        "and ramp taken out), after so many iterations; the same recovered probe for all, free "
        "from the first iteration. The reference was found from a flat start, which favours it.",
        "",
        render.aligned(compare.markdown_table(rows)),
    ]


def draw(here: Context, record: Mapping[str, Any], arrays: Mapping[str, Any]) -> tuple[str, ...]:
    """Draw the whole scan in amplitude and phase, the FRC and the iterations."""
    import matplotlib.pyplot as plt
    import numpy as np

    from reproduce import figures
    from reproduce.parts import panels, pictures

    methods = list(record["settings"]["epochs"])
    columns = {"ePIE": arrays["reference_whole"]}
    columns |= {figures.NAMES.get(m, m): arrays[f"{m}_whole"] for m in methods}
    reference = arrays["reference_whole"]
    views = {"amplitude": np.abs, "phase (rad)": np.angle}
    with figures.styled():
        wide = max(len(columns), 3)
        figure, axes = plt.subplots(3, wide, figsize=(figures.PAGE_IN, 7.0))
        for row, (title, view) in zip(axes, views.items(), strict=False):
            low, high = pictures.limits(view(reference))
            for axis, (name, field) in zip(row, columns.items(), strict=False):
                image = panels.draw(axis, view(field), cmap="gray", vmin=low, vmax=high)
                axis.set_title(name)
            for axis in row[len(columns) :]:
                axis.axis("off")
            row[0].set_ylabel(title)
            bar = figure.colorbar(image, ax=list(row), fraction=0.02, pad=0.01, aspect=20)
            bar.outline.set_linewidth(0.4)
        _frc(axes[2, 0], record, methods)
        for axis, key, label in (
            (axes[2, 1], "r_curve", "R-factor"),
            (axes[2, 2], "error_curve", "error against ePIE"),
        ):
            if record["results"]["refinement"]:
                _iterations(axis, record, key, label)
            else:
                axis.axis("off")
        for axis in axes[2, 3:]:
            axis.axis("off")
        return figures.save(figure, here.session.out, "real_probe", notes=panels.notes(here))


def _frc(axis: Any, record: Mapping[str, Any], methods: Sequence[str]) -> None:
    from reproduce import figures

    for region, line in (("held-out", "-"), ("whole", ":")):
        for method in methods:
            one = record["results"]["scores"][region][method]
            style = figures.style(method) | {"marker": "none", "linestyle": line}
            style["label"] = f"{style['label']}, {REGIONS[region]}"
            axis.plot(one["frc_axis"][1:], one["frc"][1:], **style)
    axis.axhline(0.5, color="0.7", lw=0.6)
    axis.set(xlabel="frequency / Nyquist", ylabel="FRC with ePIE", ylim=(-0.2, 1.02), xlim=(0, 1))
    axis.legend(fontsize=5)


def _iterations(axis: Any, record: Mapping[str, Any], key: str, label: str) -> None:
    from reproduce import figures

    for name, one in record["results"]["refinement"].items():
        # on top: a network that has learned nothing has the same curve
        flat = {"color": "#000000", "linestyle": "--", "label": "flat start", "zorder": 3}
        style = flat if name == "flat" else figures.style(name) | {"marker": "none"}
        axis.plot(one["iterations"], one[key], **style)
    axis.set(xlabel="ePIE iterations", ylabel=label)
    axis.legend()


EXHIBIT = Exhibit("real_probe", "A measured probe", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write the exhibit."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
