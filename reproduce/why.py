"""Why a number is what it is: from its id to its place, formula, records and command.

Command    python reproduce/why.py table1.ppn.psnr_amp
Reads      reproduce/paper.yaml, results/*.json, results/runs; writes nothing

An id is one of paper.yaml, or of a statement that claims.py lists. Short forms: Table I
without its condition is the noise-free half; ``claims.`` may be left out.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppn_tf.errors import OptionError
from reproduce import compare
from reproduce.claims import ELSEWHERE, RESTS_ON
from reproduce.exhibit import command
from reproduce.options import ROOT, run_script
from reproduce.parts import arithmetic

#: Formula of each kind of metric.
FORMULAS = {
    "mse": "mean of (prediction - truth)^2 over all pixels, both on the [0, 1] target scale",
    "psnr": "10 log10(1 / MSE), MSE over all pixels together, data range 1",
    "ssim": "100 x mean SSIM; uniform 7 x 7 window, sample covariance, K1 0.01, K2 0.03, data "
    "range 1, under the block's convention",
}
CHANNELS = {"amp": "amplitude", "phase": "phase"}

Document = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the walk from one number to what it rests on.

    Raises
    ------
    OptionError
        For an id that is neither published nor a statement.
    """
    arguments = options().parse_args(argv)
    out = arguments.out
    if arguments.profile != "paper":
        out = out / arguments.profile
    print("\n".join(walk(arguments.id, out, arguments.profile)))


def options() -> argparse.ArgumentParser:
    """Return the options: which number, and whose results."""
    new = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    new.add_argument("id", help="such as table1.ppn.psnr_amp or claims.speedup_overlap_30")
    new.add_argument("--profile", choices=compare.PROFILES, default="paper")
    new.add_argument(
        "--out",
        type=Path,
        default=ROOT / "results",
        help="folder of the outputs; results/stand-in for those of the stand-in object",
    )
    return new


def walk(name: str, out: Path, profile: str = "paper") -> list[str]:
    """Return all that is known of a number, as lines.

    Parameters
    ----------
    name : str
        See the module docstring.
    out : Path
        Folder of the exhibits' files.
    profile : {"smoke", "quick", "paper"}

    Raises
    ------
    OptionError
        As `main`.
    """
    paper = compare.load_paper()
    findings = {finding.id: finding for finding in arithmetic.findings(paper)}
    name = resolve(name, [*paper, *findings])
    lines = [name, ""]
    if name in paper:
        lines += published_lines(paper[name], paper)
    lines += arithmetic_lines(name, findings.values())
    if name not in paper:
        return [*lines, "Command", f"  {command('claims', profile)}"]
    documents = list(read_documents(Path(out)))
    holders = [(path, found) for path, found in documents if _cells(found, name)]
    for path, document in holders:
        lines += document_lines(name, path, document)
    if not holders:
        lines += ["Ours: no value yet", ""]
    made = [document["command"] for _, document in holders if "command" in document]
    first = [command(exhibit, profile) for exhibit in rests_on(name)]
    commands = dict.fromkeys([*first, *(made or [command(exhibit_of(name), profile)])])
    return [*lines, "Command", *(f"  {text}" for text in commands)]


def resolve(name: str, known: Sequence[str]) -> str:
    """Return the full id of a full or short one.

    Raises
    ------
    OptionError
        For an unknown id; the message lists close ones.
    """
    first, _, rest = name.partition(".")
    for candidate in (name, f"{first}.clean.{rest}", f"claims.{name}", f"statement.{name}"):
        if candidate in known:
            return candidate
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    hint = f"close ones: {', '.join(close)}" if close else "reproduce/paper.yaml lists them"
    raise OptionError(f"unknown number {name!r}: {hint}")


def exhibit_of(name: str) -> str:
    """Return the exhibit that answers a published number."""
    first, _, rest = name.partition(".")
    if first != "claims":
        return first
    return next((exhibit for exhibit, names in ELSEWHERE.items() if rest in names), "claims")


def rests_on(name: str) -> list[str]:
    """Return the exhibits that a claim needs to have been made first."""
    rest = name.removeprefix("claims.")
    return [exhibit for exhibit, names in RESTS_ON.items() if rest in names]


def published_lines(
    published: compare.Published, paper: Mapping[str, compare.Published]
) -> list[str]:
    """Say where a number stands, what it is, and what contradicts it."""
    lines = ["Published", f"  {published.where}"]
    if published.value is None:
        lines.append("  value missing")
    else:
        spread = "" if published.sd is None else f" ± {_printed(published.sd, published)}"
        unit = "" if published.unit == "1" else f" {published.unit}"
        lines.append(f"  {_printed(published.value, published)}{spread}{unit}")
        if published.sd is None and published.sd_used:
            lines.append(
                f"  no spread printed: that of Table I's PPN row, {published.sd_used:g}, is used"
            )
    if published.note:
        lines.append(f"  note: {published.note}")
    for other in map(paper.__getitem__, published.contradicted_by):
        value = "missing" if other.value is None else _printed(other.value, other)
        lines.append(f"  contradicted by {other.id}: {value}, {other.where}")
    return [*lines, ""]


def arithmetic_lines(name: str, findings: Any) -> list[str]:
    """List the statements on the number itself, and those that rest on it but fail."""
    own, failed = [], []
    for finding in findings:
        uses = {used.removesuffix(arithmetic.SD) for used in finding.uses}
        if finding.id == name:
            own.append(finding)
        elif name in uses and finding.status == arithmetic.DOES_NOT_HOLD:
            failed.append(finding)
    if not own + failed:
        return []
    return ["The paper against itself", *map(finding_line, own + failed), ""]


def finding_line(finding: arithmetic.Finding) -> str:
    """Return one statement of the paper, recomputed, as a line."""
    head = f"  {finding.status}: {finding.says} ({finding.id}); {finding.formula}"
    if finding.recomputed is None:
        return f"{head}; missing {', '.join(dict.fromkeys(finding.missing))}"
    return (
        f"{head} gives {finding.recomputed:.6g}, rounding allows {finding.low:.6g} to "
        f"{finding.high:.6g}, wanted {finding.relation} {finding.target:.6g}"
    )


def document_lines(name: str, path: Path, document: Document) -> list[str]:
    """Say what one exhibit found, block by block, and on which records it rests."""
    about = f", {document['about']}" if "about" in document else ""
    lines = [f"Ours, from {path}{about}"]
    cells = _cells(document, name)
    lacking = [cell for cell in cells if cell.get("ours") is None]
    for cell in cells:
        if cell not in lacking:
            lines += [*cell_lines(cell, document), *run_lines(cell, path.parent / "runs")]
    if lacking:
        places = "; ".join(dict.fromkeys(_place(cell) for cell in lacking))
        lines.append(f"  no value yet: {places}")
    return [*lines, *_formula_lines(cells), ""]


def cell_lines(cell: Mapping[str, Any], document: Document) -> list[str]:
    """Return our value, its verdict with the reason, and the protocol behind it."""
    spread = "" if cell.get("ours_sd") is None else f" ± {cell['ours_sd']:.4g}"
    n = "" if cell.get("n") is None else f", n {cell['n']}"
    unit = "" if cell.get("unit", "1") in ("", "1") else f" {cell['unit']}"
    lines = [f"  {_place(cell)}: {cell['ours']:.6g}{spread}{unit}{n}"]
    if cell.get("verdict"):
        lines.append(f"    verdict: {cell['verdict']['text']}")
        if cell["verdict"]["reason"] not in cell["verdict"]["text"]:
            lines.append(f"    reason: {cell['verdict']['reason']}")
    else:
        lines.append("    no verdict")
    # the exhibit's own words on its protocol blocks
    opening = f"- {cell.get('block') or ' '}: "
    protocol = [line for line in document.get("body", "").splitlines() if line.startswith(opening)]
    lines += [f"    protocol: {line.removeprefix(opening)}" for line in protocol[:1]]
    if cell.get("how"):
        lines.append(f"    how: {cell['how']}")
    return lines


def run_lines(cell: Mapping[str, Any], folder: Path) -> list[str]:
    """Name the records behind a cell: hash, seed, backend, device, commit, file."""
    lines = []
    for key in cell.get("runs") or ():
        # a name says its backend; one without an environment is all that lies there
        one = folder / f"{key}.json"
        paths = [one] if "/" in key and one.exists() else sorted((folder / key).glob("[!.]*.json"))
        if not paths:
            lines.append(f"    run {key}: its record is not in {folder}")
        for path in paths:
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                spec, environment = record["spec"], record["environment"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                lines.append(f"    run {key}: {path} cannot be read: {error!r}")
                continue
            lines.append(
                f"    run {path.parent.name}: {spec['model']}, seed {spec['seed']}, "
                f"{environment['backend']}, {environment['device']}, commit "
                f"{environment['commit'] or 'unknown'}, {path}"
            )
    return lines


def read_documents(out: Path) -> Iterator[tuple[Path, Document]]:
    """Yield the exhibits' files of a folder; what is no exhibit's file is left out."""
    for path in sorted(out.glob("[!.]*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            print(f"warning: {path} cannot be read: {error}", file=sys.stderr)
            continue
        if isinstance(document, dict) and isinstance(document.get("cells"), list):
            yield path, document


def _cells(document: Document, name: str) -> list[Mapping[str, Any]]:
    return [cell for cell in document["cells"] if cell.get("id") == name]


def _printed(value: float, published: compare.Published) -> str:
    """Return a value with the digits that the paper prints."""
    digits = max(0, -math.floor(math.log10(published.printed_unit)))
    return f"{value:.{digits}f}"


def _place(cell: Mapping[str, Any]) -> str:
    parts = (cell.get("block"), cell.get("condition"), cell.get("method"))
    return " ".join(part for part in parts if part) or "value"


def _formula_lines(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the formula of a table's metric; other numbers have a `how` of their own."""
    kind, _, channel = (cells[0].get("metric") or "").partition("_")
    if kind not in FORMULAS or channel not in CHANNELS:
        return []
    return [f"  formula: {CHANNELS[channel]}, {FORMULAS[kind]}"]


if __name__ == "__main__":
    run_script(main)
