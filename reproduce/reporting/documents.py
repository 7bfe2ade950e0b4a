"""What lies in the folder of the outputs: documents of exhibits, and records of runs."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: Exhibits in the order of the paper; others follow by name.
PAPER_ORDER = (
    *("fig1", "fig2", "table1", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "table2"),
    *("fig9", "fig10", "table3", "table4", "fig11", "claims", "audit", "refine"),
)

_SCRIPTS = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Document:
    """What one exhibit wrote.

    Attributes
    ----------
    exhibit, title : str
    about : str
        The object: the paper's, or the stand-in.
    profile, command : str
    claim : str
        From the docstring of its script; empty where there is none.
    body : str
        Markdown.
    figures : tuple of str
        File names.
    cost : dict
        ``runs_found``, ``runs_wanted``, ``hours``, ``devices``.
    cells : tuple of dict
        See `reproduce.tables.Cell`.
    environments : dict
        Hash of each run to what made it.
    device : str
        That measured numbers without runs; empty: the one that made the document.
    """

    exhibit: str
    title: str
    about: str
    profile: str
    command: str
    claim: str
    body: str
    figures: tuple[str, ...]
    cost: dict[str, Any]
    cells: tuple[dict[str, Any], ...]
    environments: dict[str, Any]
    device: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """What the report says of a finished run.

    Attributes
    ----------
    hash, backend, label, model : str
    transform, noise : str
    jitter_px, seed : int
    device, commit, finished : str
    versions : dict
    seconds : float
    regions : dict
        Region, channel, convention to scores.
    """

    hash: str
    backend: str
    label: str
    model: str
    transform: str
    noise: str
    jitter_px: int
    seed: int
    device: str
    commit: str
    finished: str
    versions: dict[str, str]
    seconds: float
    regions: dict[str, Any]


def read_documents(folder: Path) -> list[Document]:
    """Read the documents of all exhibits in the order of the paper."""
    found = []
    for path in sorted(folder.glob("[!.]*.json")):
        content = _json(path)
        if isinstance(content, dict) and isinstance(content.get("exhibit"), str):
            found.append(_document(content))
    return sorted(found, key=lambda document: _place(document.exhibit))


def _place(name: str) -> tuple[int, str]:
    return (PAPER_ORDER.index(name) if name in PAPER_ORDER else len(PAPER_ORDER), name)


def _document(content: Mapping[str, Any]) -> Document:
    name, profile = content["exhibit"], content.get("profile", "paper")
    return Document(
        name,
        content.get("title", name),
        content.get("about", ""),
        profile,
        content.get("command", command(name, profile)),
        claim(_SCRIPTS / f"{name}.py"),
        content.get("body", ""),
        tuple(content.get("figures", ())),
        dict(content.get("cost", {})),
        tuple(content.get("cells", ())),
        dict(content.get("environments", {})),
        content.get("device", ""),
    )


def command(name: str, profile: str) -> str:
    """Return the command that makes an exhibit."""
    return f"python reproduce/{name}.py" + ("" if profile == "paper" else f" --profile {profile}")


def claim(script: Path) -> str:
    """Return the claim in a script's docstring: from ``Claim`` to the next entry."""
    try:
        text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError):
        return ""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("Claim "):
            lines = [line.removeprefix("Claim ")]
        elif lines and (not line.strip() or not line.startswith(" ")):
            break
        elif lines:
            lines.append(line)
    return " ".join(" ".join(lines).split())


def read_runs(folder: Path) -> dict[tuple[str, str], Run]:
    """Read all finished runs by hash and backend; damaged records are left out.

    The exhibits check the records and say which are damaged.
    """
    return {(run.hash, run.backend): run for run in _runs(folder)}


def _runs(folder: Path) -> Iterator[Run]:
    # hidden ones are files that a killed process left unfinished
    for path in sorted(folder.glob("*/[!.]*.json")):
        try:
            yield _run(_json(path))
        except (KeyError, TypeError, AttributeError):
            continue


def _run(record: Any) -> Run:
    spec, environment = record["spec"], record["environment"]
    return Run(
        record["hash"],
        environment["backend"],
        record.get("label", spec["model"]),
        spec["model"],
        spec["transform"],
        spec["noise"]["name"],
        spec["jitter_px"],
        spec["seed"],
        environment["device"],
        environment.get("commit") or "unknown",
        record["cost"].get("finished_utc", ""),
        environment["versions"],
        record["cost"]["train_seconds"] + record["cost"]["evaluate_seconds"],
        record["results"]["regions"],
    )


def read_journal(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what ``all.py`` wrote of its last call: what was made, and what failed."""
    content = _json(folder / "all.json")
    content = content if isinstance(content, dict) else {}
    return {key: dict(content.get(key) or {}) for key in ("made", "failures")}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
