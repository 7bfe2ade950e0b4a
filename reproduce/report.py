"""The report: every published number with ours, its verdict, command, time and device.

Claim      None of its own: it gathers what the exhibits wrote.
Command    python reproduce/report.py
Written    results/report.html (one file, opens without network), results/REPORT.md

It reads <exhibit>.json, the figures that they name and the records in runs; it trains
and computes nothing, and needs no backend.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppn_tf.errors import RecordError
from ppn_tf.files import write_text
from reproduce.options import ROOT, run_script


def main(argv: Sequence[str] | None = None) -> None:
    """Write the report of one folder of outputs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    parser.add_argument(
        "--profile",
        choices=("smoke", "quick", "paper"),
        default="paper",
        help="whose outputs: those of smoke and quick lie in folders of their own",
    )
    parser.add_argument(
        "--stand-in", action="store_true", help="the outputs of the stand-in object"
    )
    arguments = parser.parse_args(argv)
    folder = arguments.out
    if arguments.stand_in:
        folder = folder / "stand-in"
    if arguments.profile != "paper":
        folder = folder / arguments.profile
    print(write(folder))


def write(folder: Path) -> str:
    """Write ``report.html`` and ``REPORT.md``; return a line for the screen.

    Parameters
    ----------
    folder : Path
        With the documents of the exhibits and ``runs``.

    Raises
    ------
    RecordError
        If there is no such folder.
    """
    from reproduce.reporting import gather, page, text

    if not folder.is_dir():
        raise RecordError(
            f"there is no folder {folder}: expected the outputs of the exhibits; make them with "
            "python reproduce/all.py, or name their folder with --out"
        )
    report = gather.gather(folder)
    html = page.html_page(report)
    write_text(folder / "report.html", html)
    write_text(folder / "REPORT.md", text.markdown_report(report))
    size = len(html.encode()) / 1e6
    return (
        f"report: {len(report.documents)} exhibits, {len(report.comparisons)} comparisons, "
        f"{len(report.numbers)} published numbers; written to {folder}: report.html "
        f"({size:.1f} MB), REPORT.md"
    )


if __name__ == "__main__":
    run_script(main)
