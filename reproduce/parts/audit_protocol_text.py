"""The finding on the protocol: how near each reading comes to the published CNN rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce.parts import audit_protocol
from reproduce.parts.audit_finding import Finding

#: Combinations in the table; the figure has all of them.
SHOWN = 12

_ABOUT = (
    "The paper leaves input transform, jitter, test region and the form of SSIM open to "
    "reading, and text and release differ in all of them. All {total} combinations are compared "
    "with the published noise-free rows of PtychoNN and PtyNet; the nearest is the selected "
    "block of Table I, and every other published row is held out from the choice. A distance is "
    "(mean over seeds - published) over the column's published gap from PPN to the best CNN: at "
    "1 the protocol is worth as much as the published advantage. The choice takes the root mean "
    "square over both rows and all six metrics. "
)


def protocol(
    distances: Mapping[str, Mapping[str, audit_protocol.Distance]],
    selection: audit_protocol.Selection,
    alternatives: Sequence[Mapping[str, Any]] = (),
) -> Finding:
    """Show how near each combination comes to the published rows, and which is chosen."""
    ranked = audit_protocol.totals(distances)
    order = sorted(distances, key=lambda name: ranked.get(name, float("inf")))
    text = (
        _ABOUT.format(total=selection.total)
        + f"Selected block: {selection.text}. "
        + _reach(distances)
        + _alternatives(selection, alternatives)
        + _unchosen(distances, selection)
        + f"The table has the {SHOWN} nearest, the figure all that have runs."
    )
    missing = []
    if selection.block is None or selection.provisional:
        missing.append("the rest of the trainings of the search (`python reproduce/audit.py`)")
    if not any("ppn" in found for found in distances.values()):
        missing.append("PPN without its Non-Local branch, which chooses nothing")
    return Finding(
        "protocol",
        "How near each protocol comes to the published CNN rows",
        text,
        [row for name in order[:SHOWN] for row in _rows(name, distances[name], ranked.get(name))],
        {
            "selection": selection.to_dict(),
            "alternatives": [dict(one) for one in alternatives],
            "reach": _plain(audit_protocol.reach(distances)),
            "totals": ranked,
            "distances": {
                name: {m: {"seeds": d.seeds, **d.by_metric} for m, d in found.items()}
                for name, found in distances.items()
            },
        },
        "test_the_nearest_combination_is_chosen_by_the_two_cnn_rows_alone",
        "; ".join(missing),
    )


def _plain(found: audit_protocol.Reach | None) -> dict[str, Any] | None:
    return None if found is None else dataclasses.asdict(found)


def _rows(
    name: str, by_model: Mapping[str, audit_protocol.Distance], total: float | None
) -> list[dict[str, str]]:
    rows = []
    for model, one in by_model.items():
        row = {
            "combination": name,
            "both rows": "" if total is None else f"{total:.2f}",
            "network": audit_protocol.title(model),
            "n": str(one.seeds),
        }
        for family in audit_protocol.FAMILIES:
            value = one.family(family)
            row[family.upper()] = "" if value is None else f"{value:.2f}"
        rows.append(row)
    return rows


def _reach(distances: Mapping[str, Mapping[str, audit_protocol.Distance]]) -> str:
    found = audit_protocol.reach(distances)
    if found is None:
        return ""
    return (
        f"Of the {found.cells} published cells of the two rows, {found.by_some} come within "
        f"their column's gap under some combination, and at most {found.most} at once "
        f"({found.best}): for all of them to hold, something that none of these readings "
        "varies, such as the networks' sizes, the training or the data, would have to differ. "
    )


def _alternatives(
    selection: audit_protocol.Selection, alternatives: Sequence[Mapping[str, Any]]
) -> str:
    if selection.block is None or not alternatives:
        return ""
    same = [one["by"] for one in alternatives if one["block"] == selection.block]
    others = [
        f"{one['by']}: {one['block']} ({one['distance']:.2f})"
        for one in alternatives
        if one["block"] != selection.block
    ]
    return (
        f"By itself the same block is chosen by {', '.join(same) or 'none of them'}"
        + (f"; another by {'; '.join(others)}" if others else "")
        + ". "
    )


def _unchosen(
    distances: Mapping[str, Mapping[str, audit_protocol.Distance]],
    selection: audit_protocol.Selection,
) -> str:
    if selection.block is not None:
        return ""
    begun = len([name for name, found in distances.items() if found])
    return (
        "A combination counts once both networks have a seed that all combinations have; "
        f"{begun} have some runs, and their distances choose nothing yet. "
    )
