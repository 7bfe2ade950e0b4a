"""A finding of the audit: what is said, the numbers behind it, and where they are tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare, render

#: Reads the records there are; without the option, what is missing is trained first.
COMMAND = "python reproduce/audit.py --no-train"
TESTS = "tests/test_audit.py"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One entry of the audit.

    Attributes
    ----------
    key : str
        Name in the JSON document.
    title : str
    text : str
        One paragraph.
    rows : sequence of mappings
        Rows of its table; empty where a sentence says it all.
    measured : mapping
        Everything measured, as plain values.
    test : str
        Name of the test that fails if the finding stops being true.
    missing : str
        What needs runs that are not there; empty where nothing does.
    """

    key: str
    title: str
    text: str
    rows: Sequence[Mapping[str, Any]] = ()
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    test: str = ""
    missing: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "title": self.title,
            "text": self.text,
            "rows": [dict(row) for row in self.rows],
            "measured": dict(self.measured),
            "test": f"{TESTS}::{self.test}" if self.test else None,
            "missing": self.missing,
        }


def markdown(findings: Sequence[Finding]) -> str:
    """Return the findings as numbered sections."""
    lines: list[str] = []
    for number, finding in enumerate(findings, start=1):
        lines += [f"## {number}. {finding.title}", "", finding.text, ""]
        if finding.rows:
            lines += [render.aligned(compare.markdown_table(finding.rows))]
        if finding.missing:
            lines += [f"No record yet: {finding.missing}", ""]
        if finding.test:
            lines += [f"Command `{COMMAND}`, test `{TESTS}::{finding.test}`", ""]
    return "\n".join(lines)
