"""Tables, text and figure of `reproduce/long_scan.py`, from its rows alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppn_tf.files import write_json, write_text

Rows = Mapping[str, Mapping[str, Any]]

TITLE = "A long scan"

#: Detector whose needs are computed [patterns a second].
DETECTOR_HZ = 2000

#: Side of the part of the field that the figure shows in full [px].
DETAIL_PX = 256


def write(rows: Rows, out: Path, field: Path) -> str:
    """Write all outputs of the rows that are there; return the text for the screen.

    Parameters
    ----------
    rows : mapping
        Records of `reproduce.parts.long_scan_rows.measure` by name.
    out : Path
    field : Path
        Field of the row ``whole``; where it is gone, the figure of an earlier call stays.
    """
    found = needs(rows)
    text = body(rows, found)
    if field.exists() and rows:
        figures = draw(rows, field, out)
    else:
        names = ("long_scan.png", "long_scan.pdf")
        figures = tuple(name for name in names if (out / name).exists())
    profile = next((row["profile"] for row in rows.values()), "paper")
    command = "python reproduce/long_scan.py"
    about = "a simulated scan over the workers of a cluster"
    document = {
        "exhibit": "long_scan",
        "title": TITLE,
        "about": about,
        "profile": profile,
        "command": command + ("" if profile == "paper" else f" --profile {profile}"),
        "body": text,
        "figures": list(figures),
        "cost": {"devices": _distinct(rows, "device")},
        "rows": list(rows.values()),
        "needs": found,
    }
    write_json(out / "long_scan.json", document)
    pictures = [f"![{name}]({name})" for name in figures if name.endswith(".png")]
    markdown = "\n".join([f"# {TITLE}: {about}", "", text, *pictures]) + "\n"
    write_text(out / "long_scan.md", markdown)
    return (
        f"{markdown}\nwritten to {out}: {', '.join(['long_scan.json', 'long_scan.md', *figures])}"
    )


def needs(rows: Rows) -> dict[str, Any]:
    """Compute what a detector of `DETECTOR_HZ` needs; empty until all its rows are there.

    Returns
    -------
    dict
        ``networks`` by name: ``per_worker_per_s``, patterns a second of one of two workers;
        ``gain_of_two``, two workers over one; ``workers``; ``workers_mib``, their memory;
        ``workers_at_the_end``, of which the chunks take as long as the stitching. And
        bandwidths for that detector: ``detector_mb_s``, ``parts_mb_s``; ``read_mb_s``, at
        which a worker reads; ``stitch_per_s``, patterns a second that the client stitches.
    """
    networks = [name for name in _networks(rows) if f"{name}-1" in rows and f"{name}-2" in rows]
    if not networks or "whole" not in rows:
        return {}
    whole = rows["whole"]
    (call,) = whole["calls"]
    if call["made"] < whole["patterns"] or _steady(whole) is None:
        return {}
    read_us = np.mean([worker["stage_us_per_pattern"]["read"] for worker in call["workers"]])
    stitch_per_s = whole["patterns"] / call["stitch_seconds"]
    found: dict[str, Any] = {
        "detector_hz": DETECTOR_HZ,
        "detector_mb_s": DETECTOR_HZ * whole["bytes_per_pattern"] / 1e6,
        "parts_mb_s": DETECTOR_HZ * call["part_bytes"] / whole["patterns"] / 1e6,
        "read_mb_s": float(whole["bytes_per_pattern"] / read_us),
        "stitch_per_s": stitch_per_s,
        "networks": {},
    }
    for name in networks:
        one, two = _steady(rows[f"{name}-1"]), _steady(rows[f"{name}-2"])
        if one is None or two is None:
            continue
        workers = math.ceil(DETECTOR_HZ / (two / 2))
        found["networks"][name] = {
            "per_worker_per_s": two / 2,
            "gain_of_two": two / one,
            "workers": workers,
            "workers_mib": workers * max(rows[f"{name}-2"]["worker_peaks_mib"]),
            "workers_at_the_end": stitch_per_s / (two / 2),
        }
    return found


def summary(folder: Path) -> str:
    """Return rates and needs for `docs/cluster.md`, from ``long_scan.json`` in a folder."""
    try:
        record = json.loads((folder / "long_scan.json").read_text(encoding="utf-8"))
        rows = {row["row"]: row for row in record["rows"]}
    except (OSError, ValueError, KeyError, TypeError):
        rows = {}
    found = needs(rows)
    if not found:
        return "Not measured yet: `python reproduce/long_scan.py`."
    whole = rows["whole"]
    (call,) = whole["calls"]
    rates = ", ".join(
        f"{name} {_number(_steady(rows[f'{name}-1']))} with one worker and "
        f"{_number(_steady(rows[f'{name}-2']))} with two"
        for name in found["networks"]
    )
    peak_mib = max(whole["worker_peaks_mib"])
    return "\n".join(
        [
            f"Measured on {', '.join(_distinct(rows, 'device'))}, workers of one thread each, "
            f"patterns of 32 x 32 px a second: {rates}. {whole['patterns']:,} patterns with "
            f"{whole['workers']} workers and {whole['network']} took {call['seconds']:,.0f} s, "
            f"{call['stitch_seconds']:.0f} s of them stitching; at most {peak_mib:,.0f} MiB a "
            f"worker and {whole['client_peak_mib']:,.0f} MiB in the client.",
            "",
            f"A detector of {DETECTOR_HZ / 1000:g} kHz:",
            "",
            *needs_lines(found),
        ]
    )


def body(rows: Rows, found: Mapping[str, Any]) -> str:
    """Return the text below the title."""
    from reproduce.compare import markdown_table
    from reproduce.render import aligned

    def table(lines: Sequence[Mapping[str, Any]]) -> list[str]:
        return [aligned(markdown_table(lines))]

    if not rows:
        return "Nothing measured yet."
    some = next(iter(rows.values()))
    lines = [
        f"{', '.join(_distinct(rows, 'device'))}; workers are processes of one thread each, with "
        f"scheduler and client on the same machine; commit {', '.join(_distinct(rows, 'commit'))}. "
        "Simulated: the chart over and over, steps of 8 px, jitter up to 3 px, Poisson counts, "
        f"{some['bytes_per_pattern']} bytes a pattern, uncompressed. `here`: in one process, "
        "without Dask.",
        "",
        "## Patterns a second",
        "",
        "`first`: workers just started, which import, load and compile; with stitching. `second`: "
        "the same workers again. `steady`: from the end of each worker's first chunk to that of "
        "its last, waits between chunks included, without stitching. `others`: cores that other "
        "programs, or other guests of the host, kept busy.",
        "",
        *table([_rate_line(row) for row in rows.values()]),
        "## Peak resident memory, MiB",
        "",
        *table([_memory_line(row) for row in rows.values()]),
        *memory_lines(rows),
        "",
        "## Where the time of a worker goes, microseconds a pattern",
        "",
        "Chunks after the first; the file was just written, so that reading is mostly from memory.",
        "",
        *table([_stage_line(row) for row in rows.values() if _steady(row) is not None]),
        "## The field",
        "",
        *field_lines(rows),
        "",
        f"## A detector of {DETECTOR_HZ / 1000:g} kHz",
        "",
        *needs_lines(found),
        "",
    ]
    return "\n".join(lines)


def memory_lines(rows: Rows) -> list[str]:
    """Compare the peaks of the whole scan with those of its tenth."""
    if not {"tenth", "whole"} <= set(rows):
        return []
    small, large = rows["tenth"], rows["whole"]
    pairs = {
        "client": (small["client_peak_mib"], large["client_peak_mib"]),
        "largest worker": (max(small["worker_peaks_mib"]), max(large["worker_peaks_mib"])),
    }
    return [
        f"{large['patterns']:,} patterns against {small['patterns']:,}, same chunks: "
        + "; ".join(f"{what} {two - one:+.0f} MiB" for what, (one, two) in pairs.items())
        + f". The field of the larger scan, as complex64 and float32 on disk, has "
        f"{large['field_bytes'] / 2**20:.0f} MiB, its patterns have "
        f"{large['patterns'] * large['bytes_per_pattern'] / 2**20:.0f} MiB. What grows with the "
        "scan is 16 bytes a position in the client, and as much once more in the tasks."
    ]


def field_lines(rows: Rows) -> list[str]:
    """Say whether fields are equal, and how far they are from the truth."""
    lines = []
    for name, row in rows.items():
        if row["largest_difference"] is None:
            continue
        same = row["like"] in rows and rows[row["like"]]["field_sha256"] == row["field_sha256"]
        lines.append(
            f"- `{name}` and `{row['like']}`: "
            + ("equal, byte for byte." if same else "")
            + ("" if same else f"largest difference {row['largest_difference']:.2g}.")
        )
    errors = [f"`{name}` {row['error']:.3f}" for name, row in rows.items()]
    return [
        *lines,
        "",
        f"Relative error against the object, a complex factor taken out: {', '.join(errors)}. "
        "It says that the patches lie where they belong, not how good a network is: the chart is "
        "the one that they are trained on, without noise and jitter.",
    ]


def needs_lines(found: Mapping[str, Any]) -> list[str]:
    """Say what the detector needs."""
    if not found:
        return ["Computed once the rows of one and two workers and `whole` are there."]
    from reproduce.compare import markdown_table
    from reproduce.render import aligned

    lines = [
        {
            "network": name,
            "patterns a second of a worker": f"{one['per_worker_per_s']:.0f}",
            "two workers over one": f"{one['gain_of_two']:.2f}",
            "workers needed": one["workers"],
            "their memory, GiB": f"{one['workers_mib'] / 1024:.1f}",
            "stitching as long as chunks from": f"{one['workers_at_the_end']:.0f} workers",
        }
        for name, one in found["networks"].items()
    ]
    return [
        "Computed from the rows above, not measured: every worker is taken to make what one of two "
        "made here in the second call, on a core of its own.",
        "",
        aligned(markdown_table(lines)),
        f"- Disk: {found['detector_mb_s']:.1f} MB/s of patterns in, uncompressed; a worker read "
        f"{found['read_mb_s']:.0f} MB/s of them. {found['parts_mb_s']:.1f} MB/s of parts out, and "
        "as much in again when they are stitched (chunks of `whole`).",
        f"- End of scaling: the client alone stitches, band by band, after the last chunk, "
        f"{found['stitch_per_s']:,.0f} patterns a second on the raster of `whole`. That is "
        f"{found['stitch_per_s'] / found['detector_hz']:.1f} times the detector; with the workers "
        "of the last column it takes as long as all chunks together, and even more of them save "
        "less than half of the time. Bands are independent, so they could be tasks too.",
        "- No accelerator was measured.",
    ]


def draw(rows: Rows, field: Path, out: Path) -> tuple[str, ...]:
    """Draw the field of the whole scan, a part of it beside the truth, and the rates."""
    import h5py
    import matplotlib.pyplot as plt

    from reproduce import figures
    from reproduce.parts.drawn_scan import truth

    with h5py.File(field) as file:
        source = file["object"]
        height, width = source.shape
        every = max(1, height // 500)
        # a row at a time: the field may be larger than memory
        coarse = np.stack([source[row][::every] for row in range(0, height, every)])
        top, left = ((side - min(side, DETAIL_PX)) // 2 for side in (height, width))
        part = source[top : top + DETAIL_PX, left : left + DETAIL_PX]
    true = truth(top, top + len(part), left + part.shape[1])[:, left:]
    pictures = {
        f"phase [rad], {height} x {width} px": coarse,
        f"{len(part)} x {part.shape[1]} px of it": part,
        "the same of the object": true,
    }
    low, high = np.angle(true).min(), np.angle(true).max()
    with figures.styled():
        figure, axes = plt.subplots(1, 4, figsize=(figures.PAGE_IN, 2.1))
        for axis, (title, values) in zip(axes, pictures.items(), strict=False):
            shown = axis.imshow(np.angle(values), cmap="gray", vmin=low, vmax=high)
            axis.set_title(title)
            axis.set_xticks([])
            axis.set_yticks([])
        figure.colorbar(shown, ax=list(axes[:3]), fraction=0.02, pad=0.01)
        _rates(axes[3], rows)
        return figures.save(figure, out, "long_scan")


def _rates(axis: Any, rows: Rows) -> None:
    from reproduce import figures

    for name in _networks(rows):
        points = [
            (workers, rate)
            for workers in (1, 2)
            if (row := rows.get(f"{name}-{workers}")) and (rate := _steady(row)) is not None
        ]
        look = figures.style("ppn" if name.startswith("ppn") else name) | {"label": name}
        axis.plot(*zip(*points, strict=True), **look) if points else None
    axis.axhline(DETECTOR_HZ, color="0.5", linestyle=":", linewidth=0.8)
    axis.set(yscale="log", xlim=(0.5, 2.5), xticks=(1, 2), xlabel="workers")
    axis.set_title("patterns a second")
    axis.legend()


def _networks(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["network"] for row in rows.values()))


def _steady(row: Mapping[str, Any]) -> float | None:
    return row["calls"][-1]["steady_per_s"]


def _distinct(rows: Rows, key: str) -> list[str]:
    found = (row["environment"][key] or "unknown" for row in rows.values())
    return list(dict.fromkeys(found))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _rate_line(row: Mapping[str, Any]) -> dict[str, Any]:
    first, last = row["calls"][0], row["calls"][-1]
    taken_over = first["made"] < row["patterns"]
    return {
        "row": f"{row['row']}{' (gone on with)' if taken_over else ''}",
        "network": row["network"],
        "patterns": f"{row['patterns']:,}",
        "chunk": row["chunk"],
        "workers": row["workers"] or "here",
        "first": _number(first["per_s"]),
        "second": _number(last["per_s"]) if len(row["calls"]) > 1 else "",
        "steady": _number(last["steady_per_s"]),
        "start, s": "" if row["cluster_start_s"] is None else f"{row['cluster_start_s']:.1f}",
        "first chunk, s": f"{max(worker['first_chunk_s'] for worker in first['workers']):.1f}",
        "stitching, s": f"{last['stitch_seconds']:.1f}",
        "others": f"{row['other_cores_busy']:.2f}",
    }


def _memory_line(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "row": row["row"],
        "patterns": f"{row['patterns']:,}",
        "client": _number(row["client_peak_mib"]),
        "scheduler": _number(row["scheduler_peak_mib"]),
        "workers": ", ".join(_number(peak) for peak in row["worker_peaks_mib"]),
        "field, px": " x ".join(map(str, row["field_shape"])),
        "field, MiB": _number(row["field_bytes"] / 2**20),
    }


def _stage_line(row: Mapping[str, Any]) -> dict[str, Any]:
    workers = row["calls"][-1]["workers"]
    stages = workers[0]["stage_us_per_pattern"]
    return {
        "row": row["row"],
        **{
            stage: f"{np.mean([worker['stage_us_per_pattern'][stage] for worker in workers]):.0f}"
            for stage in stages
            # once a process
            if stage != "load"
        },
        "wait a chunk, ms": f"{1e3 * np.mean([w['wait_s_per_chunk'] for w in workers]):.0f}",
        "cores busy, each": f"{np.mean([w['steady_cores_busy'] for w in workers]):.2f}",
    }
