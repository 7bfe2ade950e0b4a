"""The parts of the page below the summary: exhibits, protocols, numbers, runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from reproduce import compare
from reproduce.reporting import answers, gather, markdown, pictures
from reproduce.reporting.answers import Answer, Number
from reproduce.reporting.documents import Document
from reproduce.reporting.gather import Report
from reproduce.reporting.heatmap import Heatmap
from reproduce.reporting.pictures import Picture

#: CSS class of each verdict.
CLASSES = {
    compare.REPRODUCED: "good",
    compare.SAME_ORDERING: "order",
    compare.DIFFERS: "bad",
    compare.CANNOT_SPREAD: "spread",
    compare.CANNOT: "open",
}

#: Compared numbers up to which the list of an exhibit is unfolded.
UNFOLDED = 24

#: What the heatmaps' rows stand for.
REGIONS = (
    "Regions of the 61 x 61 scan: rows, the test rows 48 to 60; lower-left and lower-right, their "
    "columns 0 to 12 and 48 to 60; gap, rows without every patch that shares a pixel with "
    "training; first-release, rows and columns 13 to 60, mostly training patches. Conventions: "
    "flattened and per-image score unstitched patches, field the stitched field."
)

#: Distance, in published gaps, that has the last colour of the heatmap.
FAR = 10.0


def titled(status: str) -> str:
    """Return a verdict with the letter that tables print for it."""
    letter = answers.LETTERS.get(status)
    return f"{letter} {status}" if letter else status


def verdict(answer: Answer) -> str:
    """Return a verdict as a label, its reason as its title."""
    if not answer.status:
        profile = escape(answer.document.profile)
        return f'<span class="verdict open">no verdict, profile {profile}</span>'
    letter = answers.LETTERS[answer.status]
    kinds = f"verdict {CLASSES[answer.status]}" + (" provisional" if answer.provisional else "")
    note = ", provisional" if answer.provisional else ""
    return (
        f'<span class="{kinds}" title="{escape(answer.reason)}"><b>{escape(letter)}</b> '
        f"{escape(answer.status)}{note}</span>"
    )


def identifier(name: str) -> str:
    """Return an id that may break after its dots and low lines."""
    return f"<code>{escape(name).replace('.', '.<wbr>').replace('_', '_<wbr>')}</code>"


def exhibits(report: Report) -> Iterator[str]:
    """Give the section of every exhibit."""
    names = [
        report.folder / name
        for document in report.documents
        for name in document.figures
        if name.endswith(".png")
    ]
    shown = pictures.embed(names)
    for document in report.documents:
        yield exhibit(document, report.answers[document.exhibit], shown, report.folder)


def exhibit(
    document: Document, own: list[Answer], shown: Mapping[Path, Picture], folder: Path
) -> str:
    """Return the section of one exhibit."""
    cost = document.cost
    facts = [f"<code>{escape(document.command)}</code>"]
    if cost.get("runs_wanted"):
        facts.append(
            f"{cost['runs_found']} of {cost['runs_wanted']} runs, "
            f"{answers.duration(3600 * cost['hours'])}"
        )
    if cost.get("devices"):
        facts.append(escape(", ".join(cost["devices"])))
    parts = [
        f'<section id="{escape(document.exhibit)}"><h2>{escape(document.title)}</h2>',
        f'<p class="claim"><strong>Claim</strong> {escape(document.claim)}</p>'
        if document.claim
        else "",
        f'<p class="soft">{" · ".join(facts)}</p>',
        *figures(document, shown, folder),
        markdown.to_html(document.body, document.title),
        compared(document, own),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def figures(document: Document, shown: Mapping[Path, Picture], folder: Path) -> Iterator[str]:
    """Give the figures of an exhibit; one that is missing is named."""
    for name in document.figures:
        if not name.endswith(".png"):
            continue
        picture = shown.get(folder / name)
        if picture is None:
            yield f'<p class="warn">The figure {escape(name)} is missing or damaged.</p>'
            continue
        meaning = document.claim or "the exhibit's text gives its numbers"
        alt = f"{document.title} ({name}), drawn from the records: {meaning}"
        also = name.removesuffix(".png") + ".pdf"
        files = f"{name}, {also}" if also in document.figures else name
        yield (
            f'<figure><img src="{picture.uri}" width="{picture.width_px}" '
            f'height="{picture.height_px}" alt="{escape(alt)}" loading="lazy">'
            f"<figcaption>{escape(document.title)} · {escape(files)}</figcaption></figure>"
        )


def compared(document: Document, own: list[Answer]) -> str:
    """Return the list of an exhibit's compared numbers, folded where it is long."""
    if not own:
        return ""
    known = [answer for answer in own if answer.cell.get("ours") is not None]
    if not known:
        count = len({answer.cell["id"] for answer in own})
        return f"<p>Published numbers that wait for this exhibit's runs: {count}.</p>"
    heads = ("Number", "Ours of", "Published", "Ours", "n", "Difference", "Verdict and reason")
    head = "".join(f'<th scope="col">{name}</th>' for name in (*heads, "Time", "Device"))
    rows = "\n".join(_comparison(answer) for answer in known)
    table = markdown.scrolling(
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>",
        f"{escape(document.title)}: published against ours, mean ± standard deviation over n seeds",
    )
    state = " open" if len(known) <= UNFOLDED else ""
    return (
        f'<details class="fold"{state}><summary>{len(known)} comparisons, number by number'
        f"</summary>\n{table}\n</details>"
    )


def _comparison(answer: Answer) -> str:
    time, device = answers.cost([answer])
    how = answer.cell.get("how") or ""
    name = answer.cell["id"]
    unit = answer.cell.get("unit") or ""
    reason = ". ".join(part for part in (how, answer.reason) if part)
    n = answer.cell.get("n")
    return (
        f'<tr><td class="where"><a href="#n-{escape(name)}">{identifier(name)}</a>'
        f'<div class="soft">{escape(answer.where)}</div></td>'
        f"<td>{escape(answer.source)}</td>"
        f'<td class="number">{escape(answer.published)}</td>'
        f'<td class="number">{escape(answer.ours)} {escape(_unit(unit))}</td>'
        f'<td class="number">{"" if n is None else n}</td>'
        f'<td class="number">{escape(answer.number("difference", "+"))}</td>'
        f'<td class="reason">{verdict(answer)}'
        f'<div class="soft">{escape(reason)}</div></td>'
        f'<td class="nowrap">{escape(time)}</td><td>{escape(device)}</td></tr>'
    )


def _unit(unit: str) -> str:
    return "" if unit in ("1", "ratio") else unit


def heatmaps(report: Report) -> str:
    """Return the distance to the published rows under every protocol combination."""
    if not report.heatmaps:
        return ""
    return "\n".join(
        [
            '<section id="protocols"><h2>Every protocol</h2>',
            "<p>How far our Table I records lie from the published rows, for every test region and "
            "SSIM convention: the mean over the six metrics of |ours - published|, in units of the "
            "column's published gap from PPN to the best CNN. At 1 the typical distance is as "
            "large as the advantage that the paper claims; smaller is nearer. <strong>This is no "
            "verdict</strong>: what lies nearest was not chosen beforehand.</p>",
            f"<p>{REGIONS}</p>",
            *(_heatmap(own) for own in report.heatmaps),
            "</section>",
        ]
    )


def _heatmap(own: Heatmap) -> str:
    head = "".join(
        f'<th scope="col" class="number">{escape(name)}, n {own.seeds[name]}</th>'
        for name in own.methods
    )
    rows = []
    for region, convention, distances in own.rows:
        values = "".join(_heat(distances.get(name)) for name in own.methods)
        rows.append(
            f'<tr><th scope="row">{escape(region)}</th><td>{escape(convention)}</td>{values}</tr>'
        )
    content = (
        '<thead><tr><th scope="col">Region</th><th scope="col">SSIM convention</th>'
        f"{head}</tr></thead>\n<tbody>{''.join(rows)}</tbody>"
    )
    return f'<div class="heat">{markdown.scrolling(content, escape(own.title))}</div>'


def _heat(distance: float | None) -> str:
    if distance is None:
        return '<td class="number">-</td>'
    share = min(1.0, math.log1p(distance) / math.log1p(FAR))
    return f'<td class="heat number" style="--d:{100 * share:.0f}%">{distance:.2f}</td>'


def all_numbers(report: Report) -> str:
    """Return every published number of ``paper.yaml``, each once."""
    names = ("Number", "Where", "Published", "Ours and verdict", "Command", "Time", "Device")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = "\n".join(_number(number) for number in report.numbers)
    table = markdown.scrolling(
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>",
        "Every number that the paper prints, in the order of reproduce/paper.yaml",
        "numbers",
    ).replace('class="scroll"', 'class="scroll tall"', 1)
    choices = [("", "all"), *((f"|{state}|", state) for state in (*answers.STATES, *CLASSES))]
    options = "".join(f'<option value="{escape(a)}">{escape(b)}</option>' for a, b in choices)
    return (
        '<section id="published"><h2>All published numbers</h2>\n'
        '<form id="filter" class="filter" hidden><label>Text <input name="text" type="search">'
        f'</label><label>State <select name="state">{options}</select></label>'
        f"<output></output></form>\n{table}\n</section>"
    )


def _number(number: Number) -> str:
    published = number.published
    states = {number.state, *(answer.status for answer in number.answers if answer.status)}
    time, device = answers.cost(number.answers)
    items = []
    if number.state != answers.COMPARED:
        items.append(f'<li><span class="verdict open">{escape(number.state)}</span></li>')
    for answer in number.answers:
        n = answer.cell.get("n")
        detail = [f"n {n}"] if n is not None else []
        difference = answer.number("difference", "+")
        detail += [f"difference {difference}"] if difference else []
        label = verdict(answer) if number.state == answers.COMPARED else ""
        items.append(
            f"<li>{label} {escape(answer.ours)} "
            f'<span class="soft">{escape(", ".join([*detail, answer.source]))}</span></li>'
        )
    note = f'<br><span class="soft">{escape(published.note)}</span>' if published.note else ""
    value = f"{number.printed} {_unit(published.unit)}" if number.printed else "missing"
    commands = "<br>".join(f"<code>{escape(command)}</code>" for command in number.commands)
    return (
        f'<tr id="n-{escape(published.id)}" data-states="|{escape("|".join(sorted(states)))}|">'
        f'<th scope="row">{identifier(published.id)}</th>'
        f'<td class="where">{escape(published.where)}{note}</td>'
        f'<td class="number">{escape(value)}</td>'
        f'<td><ul class="answers">{"".join(items)}</ul></td><td>{commands}</td>'
        f'<td class="nowrap">{escape(time)}</td><td>{escape(device)}</td></tr>'
    )


def runs(report: Report) -> str:
    """Return the provenance of every run, folded."""
    if not report.runs:
        return '<section id="runs"><h2>Runs</h2><p>No run yet.</p></section>'
    names = ("Hash", "Run", "Seed", "Backend", "Device", "Commit", "Time", "Finished", "Versions")
    head = "".join(f'<th scope="col">{name}</th>' for name in (*names, "Used by"))
    used = gather.used_by(report)
    rows = []
    for run in report.runs.values():
        versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
        plain = (run.backend, run.device, run.commit)
        rows.append(
            f'<tr><th scope="row"><code>{escape(run.hash)}</code></th>'
            f'<td class="where">{escape(run.label)}</td><td class="number">{run.seed}</td>'
            + "".join(f"<td>{escape(value)}</td>" for value in plain)
            + f'<td class="number" data-sort="{run.seconds}">{answers.duration(run.seconds)}</td>'
            f"<td>{escape(run.finished[:16].replace('T', ' '))}</td>"
            f'<td class="where">{escape(versions)}</td>'
            f"<td>{escape(', '.join(used.get(run.hash, [])))}</td></tr>"
        )
    table = markdown.scrolling(
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}\n</tbody>",
        "Every finished run that an exhibit rests on; the records are in the folder runs",
    )
    return (
        '<section id="runs"><h2>Runs</h2>\n<details class="fold">'
        f"<summary>Provenance of {len(report.runs)} runs</summary>\n{table}\n</details></section>"
    )
