"""Claims as Markdown: against the paper itself, by our runs, elsewhere, and by eye."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare, render
from reproduce.parts import arithmetic
from reproduce.parts.arithmetic import CANNOT, HOLDS, Finding
from reproduce.tables import Cell

#: Statement, place, and what stands for it: by eye, or of no number.
BY_EYE = (
    (
        "improved edge definition, contrast closer to the truth",
        "IV-B1, Fig. 3(a)",
        "edge widths and contrast: fig3",
    ),
    (
        "global consistency, minimal boundary artefacts",
        "IV-B2, Fig. 3(c)",
        "energy of the error along seams, scores of the stitched field: fig3; block text of table1",
    ),
    (
        "matches the truth's power spectrum, genuine high-resolution features",
        "IV-B3, Fig. 4",
        "shares of three bands and diagonal profiles: fig4",
    ),
    (
        "PoCA weights mid-frequency correlations preferentially",
        "IV-B3",
        "attention mass by radius of the key: fig4; that it causes the rest: the row w/ MinN "
        "of table2",
    ),
    (
        "superior on measured data",
        "IV-C, Fig. 5",
        "scores on a measured scan: fig5",
    ),
    (
        "superior on curved samples",
        "IV-D, Fig. 6",
        "MSE, PSNR and SSIM on four samples: fig6",
    ),
    (
        "learns an optimal sparse prior",
        "IV-E1",
        "cannot be computed: no prior is defined; fig7 has the scores",
    ),
    (
        "all models stable over the overlap of the test set",
        "IV-E2, Fig. 7(b)",
        "one-way ANOVA and equivalence: fig7",
    ),
    (
        "blurry without the decoder, poorer edges with standard attention",
        "IV-F, Fig. 9",
        "scores: table2; profiles: fig9",
    ),
    (
        "converges in fewer epochs",
        "V-A",
        "epochs to convergence from the training histories: fig10",
    ),
    (
        "FLOPs stands for operations per second",
        "Introduction",
        "the numbers are counts of operations of one inference: fig10 counts them",
    ),
    (
        "NPCC converges badly",
        "V-B",
        "spread over seeds and training histories: table4",
    ),
    (
        "consistent improvement with alpha from 0.2 to 0.9",
        "V-B, Fig. 11",
        "scores by alpha: fig11",
    ),
    (
        "mimics the Ewald sphere's intersection with the reciprocal lattice",
        "III-B2",
        "cannot be computed: no measurable consequence is named",
    ),
)

#: Named in the paper, used by none of its experiments.
UNUSED = (
    "Eq. (3), the regularised objective for object and probe, is named in the paper but used "
    "by no experiment: the networks are trained on Eq. (12), and ePIE has its own update."
)

_DIGITS = ".4g"


def against_itself(findings: Sequence[Finding]) -> list[str]:
    """Lay out what the paper's numbers say of each other."""
    counts = collections.Counter(finding.status for finding in findings)
    total = "; ".join(f"{status}: {counts[status]}" for status in arithmetic.STATUSES)
    single = [f for f in findings if not f.id.startswith("consistency.")]
    series = {HOLDS: [], CANNOT: []}
    shown = []
    for finding in single:
        named = finding.id.startswith("claims.") or finding.status not in series
        (shown if named else series[finding.status]).append(finding)
    return [
        "## The paper against itself",
        "",
        f"{len(findings)} checks of published numbers against each other. {total}. Every printed "
        "number stands for the interval that rounds to it; counts are exact.",
        "",
        render.aligned(compare.markdown_table([_finding(finding) for finding in shown])),
        f"{len(series[HOLDS])} more statements hold: {'; '.join(_grouped(series[HOLDS]))}.",
        "",
        f"{len(series[CANNOT])} more cannot be checked for want of values: "
        f"{'; '.join(_grouped(series[CANNOT]))}.",
        "",
        "MSE and PSNR of Table I (data range 1). Over the same results a mean of PSNRs is not "
        "below the PSNR of the mean MSE (Jensen), and to first order the two spreads determine "
        "each other.",
        "",
        render.aligned(compare.markdown_table(_consistency(findings))),
    ]


def _finding(finding: Finding) -> dict[str, str]:
    target = "-" if finding.target is None else _number(finding.target)
    return {
        "statement": finding.says,
        "where": finding.where,
        "says": f"{finding.relation} {target}{_unit(finding.unit)}",
        "recomputed": _number(finding.recomputed),
        "rounding allows": "-"
        if finding.low is None
        else f"{_number(finding.low)} to {_number(finding.high)}",
        "outcome": finding.status
        + (f" ({', '.join(dict.fromkeys(finding.missing))})" if finding.missing else ""),
        "note": finding.note,
    }


def _unit(unit: str) -> str:
    return "" if unit in ("", "1", "ratio") else f" {unit}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    # from 1000 on, four digits would drop units
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:{_DIGITS}}"


def _grouped(findings: Sequence[Finding]) -> list[str]:
    """Name statements that come in series by their common beginning, with their number."""
    series: dict[str, list[str]] = {}
    for finding in findings:
        series.setdefault(finding.says.rsplit(",", 1)[0], []).append(finding.says)
    # what stands alone keeps its end, which may be what limits it
    return [f"{s} ({len(all_)})" if len(all_) > 1 else all_[0] for s, all_ in series.items()]


def _consistency(findings: Sequence[Finding]) -> list[dict[str, str]]:
    known = {finding.id: finding for finding in findings}
    rows = []
    for name, finding in known.items():
        spread = known.get(f"{name}_sd")
        if not name.startswith("consistency.") or spread is None:
            continue
        rows.append(
            {
                "cell": finding.where.removeprefix("Table I, "),
                "PSNR + 10 log10(MSE) (dB)": f"{finding.recomputed:+.3f}",
                "rounding allows": f"{finding.low:+.3f} to {finding.high:+.3f}",
                "same results": finding.status,
                "spreads apart by a factor": _number(spread.recomputed),
                "within 2": spread.status,
            }
        )
    return rows


def by_our_runs(
    cells: Sequence[Cell], statements: Sequence[Mapping[str, Any]], blocks: Sequence[Any]
) -> list[str]:
    """Lay out the claims that data, networks and records answer."""
    answered = [cell for cell in cells if cell.ours is not None]
    lacking: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.ours is not None:
            continue
        # only numbers of records have a block
        place = f"{cell.block} {cell.condition}" if cell.block else cell.how
        what = cell.method if cell.block else (cell.id or "").removeprefix("claims.")
        lacking.setdefault(place, {})[what] = None
    lines = [
        "## What our data, networks and runs say",
        "",
        render.aligned(compare.markdown_table([_cell(cell) for cell in answered]))
        if answered
        else "Nothing yet.\n",
        "No value yet for a claim on" if lacking else "Every claim has a value.",
        "",
        *(f"- {place}: {', '.join(methods)}" for place, methods in lacking.items()),
        "",
        "The runs are those of Tables I and II, whose commands train them. Blocks:",
        "",
        *(f"- {block.name}: {render.describe(block)}" for block in blocks),
        "",
    ]
    made = [entry for entry in statements if entry["seeds"] > 1]
    lines += [
        f"- {entry['says']} ({entry['condition']}, {entry['block']}, {entry['method']}, "
        f"n {entry['seeds']}): {entry['ours']}"
        for entry in made
    ]
    if len(made) < len(statements):
        lines.append(
            f"- {len(statements) - len(made)} of {len(statements)} statements on significance "
            "have no record yet: they need at least 2 common seeds of the four networks"
        )
    return [*lines, ""]


def _cell(cell: Cell) -> dict[str, str]:
    spread = "" if cell.ours_sd is None else f" ± {_number(cell.ours_sd)}"
    return {
        "claim": (cell.id or f"{cell.metric} (no number published)").removeprefix("claims."),
        "block": " ".join(filter(None, (cell.block, cell.condition))),
        "of": cell.method,
        "published": _number(cell.published),
        "ours": f"{_number(cell.ours)}{spread}",
        "n": "" if cell.n is None else str(cell.n),
        "unit": cell.unit,
        "verdict": (cell.verdict or {}).get("text", ""),
        "how": cell.how,
    }


def elsewhere(
    found: Mapping[str, Mapping[str, Any]], paper: Mapping[str, compare.Published]
) -> list[str]:
    """Lay out the claims that other exhibits answer."""
    rows = []
    for key, entry in found.items():
        base = {
            "claim": key.removeprefix("claims."),
            "published": _number(paper[key].value),
            "unit": paper[key].unit,
        }
        for cell in entry["cells"]:
            answer = {
                "of": " ".join(
                    cell[part] for part in ("block", "method", "metric") if cell.get(part)
                ),
                "ours": _number(cell.get("ours")),
                "verdict": (cell.get("verdict") or {}).get("text", ""),
            }
            rows.append(base | answer | {"from": entry["exhibit"]})
        if not entry["cells"]:
            row = {"of": "", "ours": "-", "verdict": "", "from": f"`{entry['command']}`"}
            rows.append(base | row)
    return [
        "## Answered by other exhibits",
        "",
        "Where ours is missing, the command computes it.",
        "",
        render.aligned(compare.markdown_table(rows)),
    ]


def by_eye() -> list[str]:
    """List the statements by eye, with the number that stands for each."""
    rows = [{"statement": says, "where": where, "number": how} for says, where, how in BY_EYE]
    return [
        "## Statements without a number",
        "",
        render.aligned(compare.markdown_table(rows)),
        UNUSED,
        "",
    ]
