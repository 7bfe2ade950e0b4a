"""What a command says when it has ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer of a command, for people and for programs.

    Attributes
    ----------
    text : str
        Printed by default.
    values : mapping
        Printed as one JSON object with ``--json``: finite numbers, strings, None, lists
        and mappings; names carry units. Files that were written stand under ``"files"``.
    """

    text: str
    values: Mapping[str, Any]
