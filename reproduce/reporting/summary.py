"""The results that stand in the README: the noise-free Table I and a choice of other numbers."""

from __future__ import annotations

from collections.abc import Sequence

from reproduce import compare
from reproduce.reporting.answers import LETTERS, Answer, Number
from reproduce.reporting.gather import Report

#: Block of the table: the one whose test patches share no pixel with training.
BLOCK = "sound"

#: Rows of the table: those of the paper, by the method of ours that stands for them.
ROWS = (
    ("PtychoNN", "ptychonn", "ptychonn"),
    ("PtyNet", "ptynet", "ptynet"),
    ("DPI", "dpi", "dpi"),
    ("PPN, section III-B", "ppn", "ppn"),
    ("PPN, as released", "ppn", "ppn-released"),
)
COLUMNS = (
    ("psnr_amp", "amplitude PSNR, dB"),
    ("ssim_amp", "amplitude SSIM, %"),
    ("psnr_phase", "phase PSNR, dB"),
    ("ssim_phase", "phase SSIM, %"),
)
#: Other published numbers, in the order of the paper.
OTHERS = (
    "claims.mid_frequency_attenuation_min",
    "claims.mid_frequency_attenuation_max",
    "claims.ppn_psnr_amp_drop_percent",
    "claims.ptychonn_psnr_amp_drop_percent",
    "claims.epie_ssim_overlap_90",
    "claims.epie_ssim_overlap_30",
    "claims.speedup_overlap_30",
    "claims.speedup_overlap_60",
    "claims.acquisition_ratio_90_30",
    "table2.without-nlb.psnr_amp",
    "fig10.ppn.size_mib",
    "fig10.ppn.gflops",
    "claims.params_ppn_million",
)


def markdown(report: Report) -> str:
    """Return the results as Markdown: a sentence, Table I, other numbers, the letters.

    Parameters
    ----------
    report : Report
        Of the committed outputs.
    """
    numbers = {number.published.id: number for number in report.numbers}
    rows = [
        [title] + [_entry(numbers[f"table1.clean.{row}.{key}"], method) for key, _ in COLUMNS]
        for title, row, method in ROWS
    ]
    head = [f"Table I, noise-free, *{BLOCK}* block"] + [title for _, title in COLUMNS]
    others = [
        [
            f"`{key}`",
            numbers[key].published.where,
            f"{numbers[key].printed} {_unit(numbers[key])}".strip(),
            "; ".join(_answer(one, long=True) for one in numbers[key].answers) or "no record yet",
        ]
        for key in OTHERS
        if key in numbers
    ]
    letters = ", ".join(f"**{LETTERS[status]}** {status}" for status in LETTERS)
    return "\n\n".join(
        [
            f"{report.sentence} {_counts(report)}",
            "Published → ours ± standard deviation over n seeds, verdict:",
            _table(head, rows),
            _table(["number", "where", "published", "ours, verdict"], others),
            f"{letters} (a published value is missing, or another one contradicts it); \\* "
            f"provisional: fewer than {compare.SEEDS} seeds.",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _entry(number: Number, method: str) -> str:
    found = [
        one
        for one in number.answers
        if one.cell.get("block") == BLOCK and one.cell.get("method") == method
    ]
    return f"{number.printed} → {_answer(found[0]) if found else 'no record yet'}"


def _answer(answer: Answer, *, long: bool = False) -> str:
    """Return value, seeds and letter; `long` adds what it was measured on."""
    count = answer.cell.get("n")
    seeds = f" (n {count})" if count else ""
    mark = LETTERS.get(answer.status, "")
    star = "\\*" if answer.provisional else ""
    letter = f" **{mark}{star}**" if mark else ""
    metric = answer.cell.get("metric") or ""
    channel = next((f", {name}" for name in ("amplitude", "phase") if name in metric), "")
    source = f"{answer.source}{channel}: " if long else ""
    return f"{source}{answer.ours}{seeds}{letter}"


def _unit(number: Number) -> str:
    unit = number.published.unit or ""
    return "" if unit == "1" else unit


def _counts(report: Report) -> str:
    """Say how many comparisons came to which verdict."""
    every = report.comparisons
    parts = [
        f"{sum(one.status == status for one in every)} {status}"
        for status in LETTERS
        if any(one.status == status for one in every)
    ]
    provisional = sum(one.provisional for one in every)
    return f"Verdicts: {', '.join(parts)}; {provisional} rest on fewer than {compare.SEEDS} seeds."
