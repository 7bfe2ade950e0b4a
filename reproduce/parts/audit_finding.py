"""A finding of the audit: what is said, the numbers behind it, and where they are tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare, render

#: Reads the records there are; without the option, what is missing is trained first.
COMMAND = "python reproduce/audit.py --no-train"
TESTS = "tests/test_audit.py"

#: Tests that lie in another file.
ELSEWHERE = {
    "tests/test_audit_protocol.py": (
        "test_the_nearest_combination_is_chosen_by_the_two_cnn_rows_alone",
    ),
    "tests/test_audit_findings.py": (
        "test_the_leak_is_told_as_the_record_has_it",
        "test_the_shift_is_told_as_the_record_has_it",
        "test_noise_by_dose_is_told_as_the_record_has_it",
        "test_the_answer_on_poca_follows_the_intervals",
        "test_receptive_fields_span_the_pattern",
        "test_the_ratio_that_remains_follows_from_the_measurements",
    ),
}


def where(test: str) -> str:
    """Return a test with its file, as pytest takes it."""
    file = next((file for file, names in ELSEWHERE.items() if test in names), TESTS)
    return f"{file}::{test}"


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
    more_rows : sequence of mappings
        Rows of a second table.
    """

    key: str
    title: str
    text: str
    rows: Sequence[Mapping[str, Any]] = ()
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    test: str = ""
    missing: str = ""
    more_rows: Sequence[Mapping[str, Any]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "title": self.title,
            "text": self.text,
            "rows": [dict(row) for row in self.rows],
            "more_rows": [dict(row) for row in self.more_rows],
            "measured": dict(self.measured),
            "test": where(self.test) if self.test else None,
            "missing": self.missing,
        }


def markdown(findings: Sequence[Finding]) -> str:
    """Return the findings as numbered sections."""
    lines: list[str] = []
    for number, finding in enumerate(findings, start=1):
        lines += [f"## {number}. {finding.title}", "", finding.text, ""]
        for rows in (finding.rows, finding.more_rows):
            if rows:
                lines += [render.aligned(compare.markdown_table(rows))]
        if finding.missing:
            lines += [f"No record yet: {finding.missing}", ""]
        if finding.test:
            lines += [f"Command `{COMMAND}`, test `{where(finding.test)}`", ""]
    return "\n".join(lines)
