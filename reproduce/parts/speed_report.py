"""Tables and figure of `reproduce/speed.py`, from its rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppn_tf.files import write_json, write_text

Row = Mapping[str, Any]
Rows = Mapping[str, Row]

#: Pairs that are compared: the block-wise row, and its references.
PAIRS = {
    name: (f"{name}-block", (f"{name}-plain", f"{name}-plain-graph"))
    for name in ("ppn-released", "ppn", "PoCA-layer")
}
NUMBERS = (
    "train_step_s",
    "predict_s",
    "peak_mib",
    "peak_above_start_mib",
    # of the layer alone: the batch of 32 above one pattern, compiled before
    "peak_above_one_mib",
)

#: What the figure shows.
TITLES = {
    "train_step_s": "training step [s]",
    "predict_s": "prediction of a batch [s]",
    "peak_above_start_mib": "peak memory above start [MiB]",
}

#: What the block-wise attention is to reach over the plain one: what, row, number, ratio.
TARGETS = (
    ("training step", "ppn-released", "train_step_s", 1.8),
    ("training step", "ppn", "train_step_s", 1.8),
    ("prediction", "ppn-released", "predict_s", 3.0),
    ("prediction", "ppn", "predict_s", 3.0),
    ("memory of the attention", "PoCA-layer", "peak_above_one_mib", 8.0),
)


def write(rows: Sequence[Row], out: Path, lacking: str = "") -> str:
    """Write all outputs of the rows that are there; return the text for the screen.

    Parameters
    ----------
    rows : sequence of dict
        Of one device or several.
    out : Path
        Folder of the outputs.
    lacking : str
        Why the rows beside pty-chi could not be measured, if they could not.
    """
    devices = by_device(rows)
    ratios = {
        device: {name: found for name in PAIRS if (found := ratio(there, name))}
        for device, there in devices.items()
    }
    # the plan of trainings reads them
    models = [
        dict(row)
        for row in rows
        if row["model"] not in ("", "PoCA layer")
        and row["attention"] in (None, "block", "fused")
        and row.get("policy", "float32") == "float32"
        and row["side_px"] == 32
    ]
    compared = {device: found for device, found in ratios.items() if found}
    figures = draw(devices, compared, out) if compared else ()
    sections = [body(device, there, lacking) for device, there in devices.items()]
    text = "\n\n".join(sections or _beside_ptychi({}, lacking))
    document = {
        "exhibit": "speed",
        "title": "Speed",
        "about": "networks, attention, ePIE, data and start-up",
        "body": text,
        "figures": list(figures),
        "cost": {"devices": list(devices)},
    }
    measured = {"rows": list(rows), "ratios": ratios, "models": models}
    write_json(out / "speed.json", document | measured)
    lines = [f"# Speed\n\n{text}", ""]
    lines += [f"![{name}]({name})" for name in figures if name.endswith(".png")]
    write_text(out / "speed.md", "\n".join(lines) + "\n")
    return text


def by_device(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Return the rows of each device by their names."""
    devices: dict[str, dict[str, Row]] = {}
    for row in rows:
        devices.setdefault(row["device"], {})[row["row"]] = row
    return devices


def ratio(rows: Rows, name: str, form: str = "") -> dict[str, float] | None:
    """Return plain over block.

    Parameters
    ----------
    rows : mapping of str to dict
        Those of one device: a ratio of two says nothing of either attention.
    name : str
        A key of `PAIRS`.
    form : {"", "plain", "plain-graph"}
        The form of the plain attention; empty takes the better one for each number.
    """
    block, references = PAIRS[name]
    wanted = references if not form else (f"{name}-{form}",)
    plain = [rows[reference] for reference in wanted if reference in rows]
    if not plain or block not in rows:
        return None
    return {
        key: round(min(row[key] for row in plain) / rows[block][key], 2)
        for key in NUMBERS
        # no memory above that at the start has no ratio
        if all(row.get(key) for row in (rows[block], *plain))
    }


def body(device: str, rows: Rows, lacking: str = "") -> str:
    """Return the Markdown section of a device."""
    parts = [f"## {device}", "", *_networks(rows), *_attention(rows), *_floor(rows)]
    parts += _epie(rows) + _beside_ptychi(rows, lacking) + _others(rows)
    return "\n".join(parts).rstrip()


def _table(lines: Sequence[Mapping[str, Any]]) -> str:
    from reproduce.compare import markdown_table
    from reproduce.render import aligned

    return aligned(markdown_table(lines))


def _networks(rows: Rows) -> list[str]:
    networks = [row for row in rows.values() if row["model"]]
    if not networks:
        return []
    names: tuple[str, ...] = ("row", "side_px", "batch", "train_step_s", "predict_s")
    names += ("patterns_per_s", "first_result_s", "peak_mib", "peak_above_start_mib")
    if any("peak_above_one_mib" in row for row in networks):
        names += ("peak_above_one_mib",)
    # where there is a GPU
    names += tuple(
        name for name in ("gpu_peak_mib", "output_distance") if any(name in row for row in networks)
    )
    return [
        "float32; medians after compilation, each row in fresh processes, compiled as a training "
        "is: Keras leaves XLA out where there is no GPU. `plain` has the N x N weights of the "
        "authors' code in a step compiled whole by XLA, `plain-graph` the same without XLA. "
        "`widened` and `one-program` go block by block as `block` does, with doubled features in "
        "place of a modulation of each block, and in one program in place of one a thread. "
        "`peak_above_one_mib`: what the batch needs above one pattern, that is, without what "
        "compiling takes.",
        "",
        _table([{name: row.get(name) for name in names} for row in networks]),
        *_earlier(networks),
    ]


def _earlier(networks: list[dict[str, Any]]) -> list[str]:
    """Tell which rows were measured with an earlier form of block-wise attention."""
    from reproduce.parts.speed_rows import EARLIER_BLOCKS, ROWS

    older: dict[str, list[str]] = {}
    for row in networks:
        if row["version"] < ROWS[row["row"]].version:
            had = [what for since, what in EARLIER_BLOCKS.items() if row["version"] < since]
            older.setdefault(", ".join(had), []).append(row["row"])
    told = "Measured with an earlier block-wise attention"
    return [x for had, names in older.items() for x in (f"{told} ({had}): {', '.join(names)}.", "")]


def _attention(rows: Rows) -> list[str]:
    ratios = {name: found for name in PAIRS if (found := ratio(rows, name))}
    # the layer alone has numbers that a network has not
    numbers = [key for key in NUMBERS if any(key in found for found in ratios.values())]
    lines = [
        {"network": name, "against": label, **{key: found.get(key) for key in numbers}}
        for name in ratios
        for form, label in (("plain", "plain"), ("plain-graph", "plain-graph"), ("", "the better"))
        if (found := ratio(rows, name, form))
    ]
    if not lines:
        return []
    return [
        "Plain over block, against each form of the plain attention, and against the better of "
        "the two for each number. `PoCA-layer` is the layer alone, forward and backward, where "
        "the memory of the attention is judged:",
        "",
        _table(lines),
        *_targets(rows),
    ]


def _targets(rows: Rows) -> list[str]:
    lines = []
    for what, name, key, wanted in TARGETS:
        forms = {
            form: (ratio(rows, name, form) or {}).get(key) for form in ("plain", "plain-graph")
        }
        better = (ratio(rows, name) or {}).get(key)
        if better is not None:
            met = "reached" if better >= wanted else "not reached"
            lines.append({"what": what, "network": name, "target": wanted, **forms, "result": met})
    if not lines:
        return []
    return [
        "Targets for plain over block, and what is reached against either form; judged against "
        "the better form, so that no target is reached by a slow reference:",
        "",
        _table(lines),
    ]


def _floor(rows: Rows) -> list[str]:
    """Compare with the arithmetic alone, at the rate of one large matrix product."""
    product = rows.get("product", {})
    # a training step is three passes: forward, and twice as much backward
    passes = {"train_step_s": 3, "predict_s": 1}
    lines = []
    for name, gflop in product.get("gflop", {}).items():
        block, plain = (rows.get(f"{name}-{form}") for form in ("block", "plain-graph"))
        for key, times in passes.items():
            if block is None:
                continue
            batch = times * block["batch"] * gflop
            least = batch / product["gflop_per_s"]
            lines.append(
                {"network": name, "what": key.removesuffix("_s"), "GFLOP": round(batch, 1)}
                | {"floor_s": round(least, 4), "block_s": block[key]}
                | {"block / floor": round(block[key] / least, 2)}
                | {"plain-graph / floor": plain and round(plain[key] / least, 2)}
            )
    if not lines:
        return []
    return [
        "The floor that arithmetic sets: the operations of the network with plain attention "
        "(TensorFlow's profiler; a training step is three passes) at "
        f"{product['gflop_per_s']:g} GFLOP/s, the rate of one large matrix product here. "
        "`plain-graph / floor` is the most that any exact attention could gain over that form:",
        "",
        _table(lines),
    ]


def _epie(rows: Rows) -> list[str]:
    epie = [row for row in rows.values() if row["work"].startswith("epie") and "numpy_us" in row]
    if not epie:
        return []
    names = ("row", "compiled_us", "numpy_us", "ratio", "object_distance", "error_distance")
    parts = [
        "ePIE: microseconds a visit of one position, compiled and as a NumPy loop with "
        "scipy.fft; relative distance of the objects after one sweep, and of the error "
        "curves over 20.",
        "",
        _table([{name: _digits(row.get(name)) for name in names} for row in epie]),
    ]
    lines = [
        {"row": row["row"], "start": start, **found}
        for row in epie
        for start, found in row.get("precision", {}).items()
    ]
    if lines:
        parts += [
            "Relative distances of the objects after one sweep, from a flat start and from a "
            "rough one: between the two engines in complex64, of each of them to the NumPy loop "
            "in complex128, and between the two in complex128.",
            "",
            _table(lines),
        ]
    lines = [
        {"row": row["row"], "batch": batch, "R-factor after 20": value}
        | {"us a position": row["batched_us"].get(batch, row["compiled_us"])}
        for row in epie
        for batch, value in sorted(row.get("r_factor_20", {}).items(), key=lambda x: int(x[0]))
    ]
    if lines:
        parts += ["The same with the updates of a batch made at once:", "", _table(lines)]
    return parts


def _digits(value: Any) -> Any:
    """Return a float with four digits."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _beside_ptychi(rows: Rows, lacking: str) -> list[str]:
    from reproduce.parts import beside_ptychi

    found = [rows[name] for name in beside_ptychi.SCANS if name in rows]
    if not found:
        return [f"ePIE beside pty-chi: not measured; {lacking or beside_ptychi.HOW}.", ""]
    versions = found[0]["library"]
    keys = ("engine", "batch", "batching", "step", "threads", "us", "r_factor", "object_error")
    lines = [
        {"row": row["row"], **{key: case.get(key) for key in keys}}
        for row in found
        for case in row["cases"]
    ]
    return [
        f"ePIE beside pty-chi {versions['ptychi']} (torch {versions['torch']}), on the same "
        f"patterns in complex64, with the known probe and {found[0]['iterations']} iterations "
        "from an object of ones: microseconds a position, R-factor of the object that each "
        "returns, and its distance from the truth where the scan lights it. A batch of 1 is "
        "ePIE. For larger ones pty-chi has the batching and the step that came closest to the "
        "patterns, of "
        f"{' and '.join(beside_ptychi.BATCHINGS)} and of "
        f"{', '.join(f'{step:g}' for step in beside_ptychi.STEPS)}; threads are those that "
        "were faster.",
        "",
        _table(lines),
    ]


def _others(rows: Rows) -> list[str]:
    others = [rows[name] for name in ("simulation", "stitching", "psd", "start") if name in rows]
    if not others:
        return []
    lines = [
        {"what": f"{row['row']}: {key.removesuffix('_s')}", "seconds": value}
        for row in others
        for key, value in row.items()
        if key.endswith("_s")
    ]
    return [
        "Other work: patterns of the 61 x 61 scan without and with noise, 26,000 patches "
        "stitched, mean power spectrum of 3,721 patches, fresh interpreters.",
        "",
        _table(lines),
    ]


def draw(
    devices: Mapping[str, Rows],
    ratios: Mapping[str, Mapping[str, Mapping[str, float]]],
    out: Path,
) -> tuple[str, ...]:
    """Draw times and memory of plain and block-wise attention as bars, a row for each device."""
    import matplotlib.pyplot as plt

    from reproduce import figures

    with figures.styled():
        figure, axes = plt.subplots(
            len(ratios),
            len(TITLES),
            figsize=(figures.PAGE_IN, 0.4 + 2.1 * len(ratios)),
            layout="constrained",
            squeeze=False,
        )
        for line, device in zip(axes, ratios, strict=True):
            for axis, (key, title) in zip(line, TITLES.items(), strict=True):
                _bars(axis, key, devices[device], ratios[device])
                axis.set_title(title, pad=14)
            line[0].set_ylabel(device, fontsize=6)
        axes[0, 0].legend(frameon=False, title="attention", fontsize=7, title_fontsize=7)
        return figures.save(figure, out, "speed")


def _bars(axis: Any, key: str, rows: Rows, ratios: Mapping[str, Mapping[str, float]]) -> None:
    names = [name for name in ratios if key in ratios[name]]
    for shift, kind, color in ((-0.2, "plain", "#999999"), (0.2, "block", "#D55E00")):
        values = []
        for name in names:
            block, references = PAIRS[name]
            found = references if kind == "plain" else (block,)
            values.append(min(rows[row][key] for row in found if row in rows))
        axis.bar(
            [place + shift for place in range(len(names))], values, 0.38, color=color, label=kind
        )
    for place, name in enumerate(names):
        top = axis.get_ylim()[1]
        axis.text(place, 1.01 * top, f"{ratios[name][key]:g} x", ha="center", fontsize=7)
    axis.set_xticks(range(len(names)), names, fontsize=7)
