"""Results and costs in the README and the documents, from the committed outputs.

Claim      What they say of our numbers is what the records say.
Command    python reproduce/readme.py           (writes them)
           python reproduce/readme.py --check   (exit status 1 if one differs)
Written    README.md, docs/cluster.md and docs/reliability.md, between the marks of each block
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

#: Blocks of the README; each stands between two marks of its name.
BLOCKS = ("results", "costs")

#: Blocks of other documents.
DOCUMENTS = {
    ROOT / "docs" / "cluster.md": ("long scan",),
    ROOT / "docs" / "reliability.md": ("reliability",),
}
BEGIN = "<!-- {}: written by reproduce/readme.py -->"
END = "<!-- end of {} -->"


def main(argv: Sequence[str] | None = None) -> None:
    """Write or check the blocks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument(
        "--readme", type=Path, help="one file to write in place of the README and the documents"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    arguments = parser.parse_args(argv)
    documents = {ROOT / "README.md": BLOCKS, **DOCUMENTS}
    if arguments.readme:
        documents = {arguments.readme: BLOCKS}
    old = {path: path.read_text(encoding="utf-8") for path in documents}
    new = {
        path: renewed(text, arguments.out, str(path), documents[path]) for path, text in old.items()
    }
    names = ", ".join(map(str, documents))
    if not arguments.check:
        for path, text in new.items():
            write_text(path, text)
        print(f"results and costs written to {names}")
        return
    differ = [str(path) for path in documents if new[path] != old[path]]
    if differ:
        print(
            f"{', '.join(differ)}: not as the outputs in {arguments.out}: run "
            "python reproduce/readme.py",
            file=sys.stderr,
        )
        sys.exit(1)
    print(f"{names}: agrees with the outputs in {arguments.out}")


def renewed(text: str, folder: Path, name: str, blocks: Sequence[str] = BLOCKS) -> str:
    """Return a document with its blocks made again.

    Parameters
    ----------
    text : str
        The document.
    folder : Path
        Outputs of the exhibits.
    name : str
        Of the document, for the message.
    blocks : sequence of str
        Its blocks.

    Raises
    ------
    RecordError
        If the marks are not there, each once and in order, or without outputs.
    """
    from reproduce.parts import long_scan_report
    from reproduce.reporting import costs, gather, reliability, summary

    if not folder.is_dir():
        raise RecordError(f"there is no folder {folder}: name that of the outputs with --out")
    report = gather.gather(folder)
    makers = {
        "results": summary.markdown,
        "costs": costs.markdown,
        "reliability": lambda found: reliability.markdown(found.folder),
        "long scan": lambda found: long_scan_report.summary(found.folder),
    }
    for block in blocks:
        text = _replaced(text, block, makers[block](report), name)
    return text


def _replaced(text: str, block: str, content: str, name: str) -> str:
    first, last = BEGIN.format(block), END.format(block)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in after:
        raise RecordError(
            f"{name}: expected the lines {first!r} and {last!r} once each, in this order: put them "
            f"where the {block} belong"
        )
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


if __name__ == "__main__":
    run_script(main)
