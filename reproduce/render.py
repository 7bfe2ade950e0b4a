"""Cells and tests as rows and lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reproduce.experiments import Block
from reproduce.tables import FORMATS, HEADINGS, LEGEND, Cell


def aligned(markdown: str) -> str:
    """Pad the cells of a Markdown table, so that it reads as plain text too."""
    rows = [line.strip("|").split("|") for line in markdown.strip().splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows]
    text = [cells[0], *cells[2:]]
    widths = [max(len(mark), *(len(row[i]) for row in text)) for i, mark in enumerate(cells[1])]

    def padded(row: list[str], rule: bool) -> str:
        parts = []
        for cell, mark, width in zip(row, cells[1], widths, strict=True):
            if rule:
                parts.append(cell.replace("---", "-" * max(3, width - cell.count(":"))))
            else:
                parts.append(cell.rjust(width) if mark.endswith(":") else cell.ljust(width))
        return f"| {' | '.join(parts)} |"

    return "\n".join(padded(row, row is cells[1]) for row in cells) + "\n"


def describe(block: Block) -> str:
    """Say what a protocol block is, in a line."""
    return (
        f"{block.why} (input {block.transform}, jitter {block.jitter_px} px, region "
        f"{block.region}, SSIM {block.convention})"
    )


def legend(blocks: Sequence[Block]) -> list[str]:
    """Explain what a table prints: spread, letters and protocol blocks."""
    return [
        f"Mean ± standard deviation over n seeds. {LEGEND}.",
        "",
        *(f"- {block.name}: {describe(block)}" for block in blocks),
    ]


def backends(every: Sequence[Cell]) -> list[str]:
    """Say of which backend the records behind the rows are, in one line; none without records."""
    found: dict[str, set[str]] = {}
    for cell in every:
        for name in cell.runs:
            key, _, backend = name.partition("/")
            if backend:
                found.setdefault(backend, set()).add(key)
    if not found:
        return []
    counts = " and ".join(f"{len(keys)} on {name}" for name, keys in sorted(found.items()))
    return [
        f"- records behind the rows: {counts}. `backends.md` compares the two; paired statistics "
        "take pairs of one backend alone"
    ]


def layout(every: Sequence[Cell]) -> list[dict[str, str]]:
    """Arrange cells as rows: condition and method, then published and each block."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for cell in every:
        if cell.published is not None:
            key = (cell.condition, cell.method, "published")
            row = rows.setdefault(key, _row(cell, "published", ""))
            form = FORMATS[cell.metric]
            row[HEADINGS[cell.metric]] = f"{cell.published:{form}}" + (
                "" if cell.published_sd is None else f" ± {cell.published_sd:{form}}"
            )
        if cell.n:
            key = (cell.condition, cell.method, cell.block)
            row = rows.setdefault(key, _row(cell, cell.block, str(cell.n)))
            row[HEADINGS[cell.metric]] = cell.text
    methods = list(dict.fromkeys(cell.method for cell in every))
    conditions = ("clean", "noisy")
    metrics = [HEADINGS[name] for name in HEADINGS if any(c.metric == name for c in every)]
    columns = ["condition", "method", "source", "n", *metrics]
    return [
        {column: rows[key].get(column, "") for column in columns}
        for key in sorted(
            rows, key=lambda k: (conditions.index(k[0]), methods.index(k[1]), k[2] != "published")
        )
    ]


def _row(cell: Cell, source: str, n: str) -> dict[str, str]:
    condition = {"clean": "noise-free", "noisy": "noisy"}[cell.condition]
    return {"condition": condition, "method": cell.method, "source": source, "n": n}


def statistics_text(tested: Sequence[dict[str, Any]]) -> list[str]:
    """Say what the tests found, a line a metric, or why there are none."""
    lines = ["## Statistics (subjects are seeds)", ""]
    for entry in tested:
        ppn = entry["methods"][-1]
        head = f"- {entry['condition']}, {entry['block']}, {ppn}, {entry['metric']}: "
        if "skipped" in entry:
            continue
        significant = [
            f"{pair['a']} - {pair['b']} (p {pair['p_bonferroni']:.2g}, n {pair['n']})"
            for pair in entry["pairs"]
            if pair["p_bonferroni"] < 0.05
        ]
        equal = [
            f"{pair['a']} = {pair['b']}" for pair in entry["equivalence"] if pair["equivalent"]
        ]
        lines.append(
            f"{head}{_anova_text(entry)}; significant after Bonferroni: "
            f"{', '.join(significant) or 'none'} of {len(entry['pairs'])} pairs; equivalent: "
            f"{', '.join(equal) or 'none'}"
        )
    skipped = sum("skipped" in entry for entry in tested)
    if skipped:
        lines.append(f"- {skipped} of {len(tested)} comparisons: no pair of methods shares 2 seeds")
    return lines + [""]


def _anova_text(entry: Mapping[str, Any]) -> str:
    anova = entry.get("anova")
    if anova is None:
        return f"no ANOVA, {entry['seeds']} seeds that all methods have on one backend"
    return (
        f"F {_number(anova['f'])}, p {anova['p_gg']:.2g} (Greenhouse-Geisser "
        f"{anova['epsilon_gg']:.2f}), n {entry['seeds']}"
    )


def _number(x: float | None) -> str:
    return "infinite" if x is None else f"{x:.3g}"
