"""The same verdicts as Markdown, for reading on a forge."""

from __future__ import annotations

from reproduce import compare
from reproduce.compare import markdown_table
from reproduce.reporting import answers, page, sections
from reproduce.reporting.answers import Number
from reproduce.reporting.documents import Document
from reproduce.reporting.gather import Report


def markdown_report(report: Report) -> str:
    """Return the report in Markdown.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
        Summary, exhibits with their figures beside it, and every published number once.
    """
    lines = [
        "# PPN: what of the paper holds",
        "",
        f"Reproduction of *{page.PAPER}* with ppn_tf: every published number beside ours. "
        "`report.html` beside this file holds more: every comparison with its reason, all "
        "protocols, and the provenance of the runs.",
        "",
        *(f"- {name}: {_plain(value)}" for name, value in report.facts),
        "",
        *_failures(report),
        "## Verdicts",
        "",
        report.sentence,
        "",
    ]
    if report.no_verdicts:
        lines += [f"**Profile {report.profile} gives no verdicts**: not the paper's protocol.", ""]
    lines += [_totals(report), *_by_exhibit(report), page.RULE, ""]
    for document in report.documents:
        lines += _exhibit(document)
    lines += ["## All published numbers", "", markdown_table([_row(n) for n in report.numbers])]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Escape what Markdown or HTML would take for markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*_[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def _failures(report: Report) -> list[str]:
    if not report.failures:
        return []
    items = [f"- {_plain(what)}: {_plain(text)}" for what, text in report.failures.items()]
    return ["**Failed** (tracebacks of the last call of all.py are in all.log):", "", *items, ""]


def _totals(report: Report) -> str:
    rows = []
    for status in compare.STATUSES:
        own = [answer for answer in report.comparisons if answer.status == status]
        provisional = sum(answer.provisional for answer in own)
        rows.append(
            {
                "verdict": sections.titled(status),
                "comparisons": len(own),
                "provisional": provisional,
            }
        )
    none = sum(not answer.status for answer in report.comparisons)
    if none:
        rows.append({"verdict": "no verdict", "comparisons": none})
    return markdown_table(rows)


def _by_exhibit(report: Report) -> list[str]:
    rows = [
        {"exhibit": title, "protocol": block}
        | {sections.titled(status): counter[status] for status in compare.STATUSES}
        | {name: counter[name] for name in ("provisional", "comparisons")}
        for (title, block), counter in answers.counts(report.comparisons).items()
    ]
    return [markdown_table(rows)] if rows else []


def _exhibit(document: Document) -> list[str]:
    cost = document.cost
    facts = [f"`{document.command}`", f"[{document.exhibit}.md]({document.exhibit}.md)"]
    if cost.get("runs_wanted"):
        hours = answers.duration(3600 * cost["hours"])
        facts.append(f"{cost['runs_found']} of {cost['runs_wanted']} runs, {hours}")
    facts += [_plain(device) for device in cost.get("devices", ())]
    lines = [f"## {_plain(document.title)}", ""]
    if document.claim:
        lines += [f"> {_plain(document.claim)}", ""]
    lines += [" · ".join(facts), ""]
    pictures = [name for name in document.figures if name.endswith(".png")]
    lines += [f"![{_plain(document.title)}: {name}]({name})\n" for name in pictures]
    return lines


def _row(number: Number) -> dict[str, str]:
    published = number.published
    found = [] if number.state == answers.COMPARED else [f"**{number.state}**"]
    for answer in number.answers:
        n = answer.cell.get("n")
        verdict = "no verdict"
        if number.state != answers.COMPARED:
            verdict = ""
        elif answer.status:
            star = "\\*" if answer.provisional else ""
            verdict = f"**{answers.LETTERS[answer.status]}{star}** {answer.status}"
        seeds = "" if n is None else f" (n {n})"
        found.append(f"{_plain(answer.source)}: {answer.ours}{seeds} {verdict}".rstrip())
    time, device = answers.cost(number.answers)
    unit = "" if published.unit in ("1", "ratio") else f" {published.unit}"
    return {
        "number": f"`{published.id}`",
        "where": _plain(published.where),
        "published": f"{number.printed}{unit}" if number.printed else "missing",
        "ours and verdict": "<br>".join(found),
        "command": "<br>".join(f"`{command}`" for command in number.commands),
        "time": time,
        "device": _plain(device),
    }
