"""What the fault tests tried and met, as a table: from ``reliability.json`` alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FILE = "reliability.json"

Part = Mapping[str, Mapping[str, Any]]


def markdown(folder: Path) -> str:
    """Return the table of what was tried, a row each.

    Parameters
    ----------
    folder : Path
        ``results``.
    """
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "Nothing has been recorded yet: run `python reproduce/reliability.py`."
    rows = [row for kind, maker in _MAKERS.items() for row in maker(record.get(kind, {}))]
    made = record.get("made", {})
    head = [["tried", "how often", "what came of it"], ["---"] * 3]
    lines = [*(f"| {' | '.join(row)} |" for row in [*head, *rows]), ""]
    lines.append(
        f"Made by the tests (commit {', '.join(made.get('commits', ['unknown']))}, "
        f"{made.get('device', '')}, "
        + ", ".join(f"{name} {version}" for name, version in made.get("versions", {}).items())
        + ")."
    )
    return "\n".join(lines)


def _kills(part: Part) -> list[list[str]]:
    rows = []
    for name, found in part.items():
        kills = found["kills"]
        phases = ", ".join(f"{phase} {count}" for phase, count in kills.items() if count)
        rows.append(
            [
                f"killed (SIGKILL) and started again, {name}: {phases}",
                f"{sum(kills.values())} kills",
                f"{found['digests_that_differ']} of the final records differ from an "
                f"undisturbed run's; {found['unfinished_files']} unfinished files left behind, "
                "none read",
            ]
        )
    return rows


def _concurrency(part: Part) -> list[list[str]]:
    rows = []
    for name, found in part.items():
        if "writers_at_once" in found:
            result = "one trains, the other waits and takes its record"
        elif "went_on" in found:
            result = "the other goes on from its last finished epoch"
        elif "workers_left" in found:
            result = f"{found['workers_left']} of its processes left"
        else:
            result = f"{found['digests_that_differ']} of the records differ"
        rows.append([name, f"{found.get('rounds') or found.get('runs')} time(s)", result])
    return rows


def _interrupted(part: Part) -> list[list[str]]:
    return [
        [name, f"{found['rounds']} time(s)", f"status {found['status']}, the command that goes on"]
        for name, found in part.items()
    ]


def _disk(part: Part) -> list[list[str]]:
    if not part:
        return []
    refused = sum(found.get("refused", 0) for found in part.values())
    differ = sum(found.get("digests_that_differ", 0) for found in part.values())
    return [
        [
            ", ".join(part),
            f"{len(part)} ways",
            f"{refused} refused with what to do; started again, {differ} of the records differ",
        ]
    ]


def _fuzz(part: Part) -> list[list[str]]:
    rows = []
    for name, found in part.items():
        rows.append(
            [
                f"damaged {name} files",
                f"{found['inputs']:,} inputs",
                f"{found['refused']:,} refused, {found['accepted']:,} still readable; "
                f"{found['foreign_errors']} foreign errors, {found['crashes']} crashes, "
                f"{found['hangs']} hangs; memory up to +{found['peak_growth_mib']} MiB",
            ]
        )
    return rows


def _hostile(part: Part) -> list[list[str]]:
    if not part:
        return []
    # what YAML says of each text is for the tests
    names = [name for name in part if not name.startswith("YAML: ")]
    if len(names) < len(part):
        names.append(f"YAML that is no plain value ({len(part) - len(names)} ways)")
    cases = sum(found["cases"] for found in part.values())
    return [
        [
            ", ".join(names),
            f"{cases} cases",
            "refused by name, or left unread; nothing unpacked, run or allocated",
        ]
    ]


def _counted(what: str, result: str) -> Callable[[Part], list[list[str]]]:
    def rows(part: Part) -> list[list[str]]:
        return [[what, f"{len(part)} cases", result]] if part else []

    return rows


def _determinism(part: Part) -> list[list[str]]:
    return [
        [
            f"one seed in fresh processes, {name}",
            f"{found['processes']} processes",
            f"{found['digests']} digest; the seed reaches {', '.join(found['streams'])}",
        ]
        for name, found in part.items()
    ]


def _memory(part: Part) -> list[list[str]]:
    return [
        [
            f"runs one after the other in one process, {name}",
            f"{found['trainings']} runs",
            f"resident memory {found['tenth_mib']:.0f} MiB after the tenth, "
            f"{found['last_mib']:.0f} MiB after the last",
        ]
        for name, found in part.items()
    ]


def _versions(part: Part) -> list[list[str]]:
    return [
        [
            f"tests on {name}",
            f"{found['passed'] + found['failed']} tests",
            f"{found['passed']} pass, {found['failed']} fail",
        ]
        for name, found in part.items()
    ]


_MAKERS: Mapping[str, Callable[[Part], list[list[str]]]] = {
    "kills": _kills,
    "concurrency": _concurrency,
    "interrupted": _interrupted,
    "disk": _disk,
    "fuzz": _fuzz,
    "bad scans": _counted(
        "scans with NaN, Inf, negative counts, no or too few positions, wrong sizes",
        "refused by name",
    ),
    "hostile": _hostile,
    "untrusted": _counted(
        ".keras files with foreign code, members or links, or larger than the limit",
        "refused before Keras loads them",
    ),
    "numerics": _counted(
        "trainings on dark patterns, constant targets, batches of one, in float16",
        "finite, or stopped with epoch, batch, output and weights",
    ),
    "determinism": _determinism,
    "memory": _memory,
    "versions": _versions,
}
