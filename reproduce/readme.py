"""The results in the README, from the committed outputs.

Claim      What the README says of our numbers is what the records say.
Command    python reproduce/readme.py           (writes them)
           python reproduce/readme.py --check   (exit status 1 if the README differs)
Written    README.md, between its two marks
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

BEGIN = "<!-- results: written by reproduce/readme.py -->"
END = "<!-- end of results -->"


def main(argv: Sequence[str] | None = None) -> None:
    """Write or check the results of the README."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="file to write")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    arguments = parser.parse_args(argv)
    old = arguments.readme.read_text(encoding="utf-8")
    new = renewed(old, arguments.out, str(arguments.readme))
    if arguments.check:
        if new != old:
            print(
                f"{arguments.readme} differs from the outputs in {arguments.out}: run "
                "python reproduce/readme.py",
                file=sys.stderr,
            )
            sys.exit(1)
        print(f"{arguments.readme} agrees with the outputs in {arguments.out}")
        return
    write_text(arguments.readme, new)
    print(f"results written to {arguments.readme}")


def renewed(text: str, folder: Path, name: str) -> str:
    """Return the README with its results made again.

    Parameters
    ----------
    text : str
        The README.
    folder : Path
        Outputs of the exhibits.
    name : str
        Of the README, for the message.

    Raises
    ------
    RecordError
        If the two marks are not there, each once and in order, or without outputs.
    """
    from reproduce.reporting import gather, summary

    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise RecordError(
            f"{name}: expected the lines {BEGIN!r} and {END!r} once each, in this order: put them "
            "where the results belong"
        )
    if not folder.is_dir():
        raise RecordError(f"there is no folder {folder}: name that of the outputs with --out")
    return f"{before}{BEGIN}\n\n{summary.markdown(gather.gather(folder))}\n\n{END}{after}"


if __name__ == "__main__":
    run_script(main)
