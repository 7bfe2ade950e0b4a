"""The report as one page that needs nothing but itself."""

from __future__ import annotations

from html import escape
from pathlib import Path

from reproduce import compare
from reproduce.reporting import answers, sections
from reproduce.reporting.gather import Report
from reproduce.reporting.markdown import scrolling

_HERE = Path(__file__).parent

PAPER = (
    "A Physics-Inspired Deep Learning Framework with Polar Coordinate Attention "
    "for Ptychographic Imaging"
)

RULE = (
    "Rules, fixed before any run but for one condition. Reproduced: |ours - published| is at most "
    "the larger of half a printed unit and 2 sqrt(sd_published² + sd_ours²), and that bound is "
    "below half the column's published gap from PPN to the best CNN; where it is not, cannot be "
    "checked (spread). A number without a column needs a bound below half its distance from no "
    "effect: added when runs were there, it can only take a reproduced away. Same "
    "ordering: not reproduced, but the paired 95 % interval of PPN minus the method excludes 0 on "
    "the published side. Differs: neither. Cannot be checked: the published value is missing or "
    "contradicts another. Provisional: fewer than 5 seeds."
)


def html_page(report: Report) -> str:
    """Return the page.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
        A whole HTML document with styles, script and figures inside.
    """
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = (_HERE / "script.js").read_text(encoding="utf-8")
    title = "PPN: what of the paper holds"
    parts = [
        *("<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">'),
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        *(f"<title>{title}</title>", f"<style>\n{style}</style>", "</head>", "<body>"),
        '<a class="skip" href="#verdicts">Skip to the verdicts</a>',
        f"<header>\n<h1>{title}</h1>",
        f'<p class="soft">Reproduction of <cite>{escape(PAPER)}</cite> with ppn_tf: every '
        "published number beside ours.</p>",
        facts(report),
        failures(report),
        contents(report),
        "</header>\n<main>",
        verdicts(report),
        *sections.exhibits(report),
        sections.heatmaps(report),
        sections.all_numbers(report),
        sections.runs(report),
        f"</main>\n<script>\n{script}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def facts(report: Report) -> str:
    """Say what the report rests on."""
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in report.facts)
    return f'<dl class="facts">{rows}</dl>'


def failures(report: Report) -> str:
    """List what failed in the last call of ``all.py``."""
    if not report.failures:
        return ""
    items = "".join(
        f"<li><strong>{escape(what)}</strong>: {escape(message)}</li>"
        for what, message in report.failures.items()
    )
    return (
        '<div class="warn"><p><strong>Failed</strong>; what stands below of these is older, '
        "or missing. Tracebacks of the last call of all.py are in all.log.</p>"
        f"<ul>{items}</ul></div>"
    )


def contents(report: Report) -> str:
    """Link to every part."""
    links = [("verdicts", "Verdicts")]
    links += [(document.exhibit, document.title) for document in report.documents]
    links += [("protocols", "Every protocol")] if report.heatmaps else []
    links += [("published", "All published numbers"), ("runs", "Runs")]
    items = "".join(f'<li><a href="#{escape(a)}">{escape(b)}</a></li>' for a, b in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def verdicts(report: Report) -> str:
    """Count verdicts over all and by exhibit."""
    parts = [
        '<section id="verdicts"><h2>Verdicts</h2>',
        f"<p>{escape(report.sentence)}</p>",
    ]
    if report.no_verdicts:
        parts.append(
            f'<p class="warn"><strong>Profile {escape(report.profile)} gives no verdicts</strong>: '
            "it is not the paper's protocol.</p>"
        )
    parts += [cards(report), f'<p class="soft">{escape(RULE)}</p>', by_exhibit(report)]
    parts += [by_place(report), "</section>"]
    return "\n".join(parts)


def cards(report: Report) -> str:
    """Return a card for each verdict and each state without one."""
    made = []
    for status in compare.STATUSES:
        own = [answer for answer in report.comparisons if answer.status == status]
        provisional = sum(answer.provisional for answer in own)
        note = f"{provisional} of them provisional" if provisional else "comparisons"
        made.append((sections.CLASSES[status], len(own), sections.titled(status), note))
    none = sum(not answer.status for answer in report.comparisons)
    if none:
        made.append(("open", none, "no verdict", "comparisons"))
    for state in (answers.MISSING_VALUE, answers.NO_RECORD):
        made.append(("open", report.states[state], state, "published numbers"))
    items = "".join(
        f'<li class="{kind}"><b>{count}</b>{escape(name)}<small>{escape(note)}</small></li>'
        for kind, count, name, note in made
    )
    return f'<ul class="cards">{items}</ul>'


def by_exhibit(report: Report) -> str:
    """Count verdicts by exhibit and block."""
    names = (*compare.STATUSES, "provisional", "no verdict", "comparisons")
    head = "".join(
        f'<th scope="col" class="number">{escape(sections.titled(name))}</th>' for name in names
    )
    rows = []
    for (title, block), counter in answers.counts(report.comparisons).items():
        values = "".join(f'<td class="number">{counter[name]}</td>' for name in names)
        rows.append(
            f'<tr><th scope="row">{escape(title)}</th><td>{escape(block)}</td>{values}</tr>'
        )
    if not rows:
        return "<p>No exhibit holds a compared number yet.</p>"
    return scrolling(
        f'<thead><tr><th scope="col">Exhibit</th><th scope="col">Protocol</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody>",
        "Comparisons by exhibit and protocol block",
    )


def by_place(report: Report) -> str:
    """Count published numbers by the place where they stand."""
    places: dict[str, list[answers.Number]] = {}
    for number in report.numbers:
        places.setdefault(answers.group(number.published), []).append(number)
    rows = []
    for place, own in places.items():
        counted = [sum(number.state == state for number in own) for state in answers.STATES]
        values = "".join(f'<td class="number">{count}</td>' for count in (len(own), *counted))
        rows.append(f'<tr><th scope="row">{escape(place)}</th>{values}</tr>')
    head = "".join(
        f'<th scope="col" class="number">{escape(name)}</th>'
        for name in ("published numbers", *answers.STATES)
    )
    return scrolling(
        f'<thead><tr><th scope="col">Place</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>',
        "Published numbers by the place where they stand",
    )
