"""The Markdown that exhibits write, as HTML: headings, tables, lists, paragraphs, code.

Everything is escaped first: nothing in a document becomes markup of its own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

_RULE = re.compile(r"^\|?\s*:?-{3,}:?\s*(\|\s*:?-{3,}:?\s*)*\|?$")
_BULLET = re.compile(r"^(\s*)([-*]|\d+\.)\s+(.*)$")
_HEADING = re.compile(r"^(#{1,6})\s+(.*)$")
#: Characters of the longest number, with its spread, unit and verdict; more is text.
_LONGEST = 34
_PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)$")


def to_html(text: str, caption: str, top: int = 3) -> str:
    """Return Markdown as HTML.

    Parameters
    ----------
    text : str
    caption : str
        Of its tables, for readers who do not see the headings above.
    top : int
        Level of the highest heading.

    Returns
    -------
    str
        Pictures on a line of their own are left out: the page shows them itself.
    """
    lines = text.splitlines()
    parts: list[str] = []
    index = 0
    heading = caption
    while index < len(lines):
        line = lines[index]
        title = _HEADING.match(line)
        if line.startswith("```"):
            end = _first(lines, index + 1, lambda other: other.startswith("```"))
            code = html.escape("\n".join(lines[index + 1 : end]))
            parts.append(f"<pre><code>{code}</code></pre>")
            index = end + 1
        elif title:
            level = min(6, top + max(0, len(title.group(1)) - 2))
            heading = f"{caption}: {title.group(2)}"
            parts.append(f"<h{level}>{inline(title.group(2))}</h{level}>")
            index += 1
        elif _is_table(lines, index):
            end = _first(lines, index, lambda other: not other.strip().startswith("|"))
            parts.append(table(lines[index:end], heading))
            index = end
        elif _BULLET.match(line):
            items = list(_items(lines, index))
            numbered = line.lstrip()[0].isdigit()
            parts.append(_list(items, "ol" if numbered else "ul"))
            index += sum(len(item) for item in items)
        elif not line.strip() or _PICTURE.match(line.strip()):
            index += 1
        else:
            end = _first(lines, index + 1, lambda other: not other.strip() or _begins(other))
            parts.append(f"<p>{inline(' '.join(lines[index:end]))}</p>")
            index = end
    return "\n".join(parts)


def inline(text: str) -> str:
    """Escape a line; keep ``code`` and **bold**."""
    escaped = html.escape(text.strip())
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)


def table(lines: Sequence[str], caption: str) -> str:
    """Return a Markdown table as a sortable HTML table in a container that scrolls."""
    rows = [cells(line) for line in lines]
    right = [
        mark.strip().endswith(":")
        or _numbers([row[column] for row in rows[2:] if column < len(row)])
        for column, mark in enumerate(rows[1])
    ]

    def row(values: Sequence[str], tag: str) -> str:
        made = []
        for position, value in enumerate(values):
            number = position < len(right) and right[position]
            kind = ' class="number"' if number else ""
            scope = ' scope="col"' if tag == "th" else ""
            made.append(f"<{tag}{scope}{kind}>{inline(value)}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(row(values, "td") for values in rows[2:])
    return scrolling(
        f"<thead>{row(rows[0], 'th')}</thead>\n<tbody>\n{body}\n</tbody>", inline(caption)
    )


def scrolling(content: str, caption: str, name: str = "", *, sortable: bool = True) -> str:
    """Wrap rows in a table within a container of its own, which scrolls sideways.

    Parameters
    ----------
    content, caption : str
        HTML.
    name : str
        Identifier of the table.
    sortable : bool
    """
    label = re.sub("<[^>]*>", "", caption)
    kind = ' class="sortable"' if sortable else ""
    own = f' id="{html.escape(name)}"' if name else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">\n'
        f"<table{own}{kind}><caption><span>{caption}</span></caption>\n{content}\n</table></div>"
    )


def cells(line: str) -> list[str]:
    """Split a row of a Markdown table; an escaped bar stays in its cell."""
    parts = re.split(r"(?<!\\)\|", line.strip())
    inner = parts[1:-1] if line.strip().endswith("|") else parts[1:]
    return [part.replace("\\|", "|").strip() for part in inner]


def _numbers(values: Sequence[str]) -> bool:
    """Tell whether a column holds numbers, by more than half of what is in it."""
    filled = [value for value in values if value.strip(" -")]
    found = [value for value in filled if re.match(r"[-+−]?\d", value) and len(value) <= _LONGEST]
    return 2 * len(found) > len(filled)


def _is_table(lines: Sequence[str], index: int) -> bool:
    return (
        lines[index].strip().startswith("|")
        and index + 1 < len(lines)
        and _RULE.match(lines[index + 1].strip()) is not None
    )


def _begins(line: str) -> bool:
    """Tell whether a line begins something other than a paragraph."""
    return bool(_HEADING.match(line) or _BULLET.match(line)) or line.startswith(("|", "```"))


def _first(lines: Sequence[str], start: int, test: object) -> int:
    return next((i for i in range(start, len(lines)) if test(lines[i])), len(lines))


def _items(lines: Sequence[str], start: int) -> Iterator[list[str]]:
    """Give the lines of each item of a list, those that go on included."""
    item: list[str] = []
    for line in lines[start:]:
        if _BULLET.match(line):
            if item:
                yield item
            item = [line]
        elif line.startswith("  ") and line.strip():
            item.append(line)
        else:
            break
    if item:
        yield item


def _list(items: Sequence[Sequence[str]], tag: str) -> str:
    made = []
    for item in items:
        begin = _BULLET.match(item[0])
        nested = ' class="nested"' if begin.group(1) else ""
        text = " ".join([begin.group(3), *(line.strip() for line in item[1:])])
        made.append(f"<li{nested}>{inline(text)}</li>")
    return f"<{tag}>{''.join(made)}</{tag}>"
