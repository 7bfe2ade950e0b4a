"""What a kept measurement is named after: everything that decides its numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from ppn_tf.numerics import NUMERICS_VERSION
from reproduce.specification import digest


@dataclasses.dataclass(frozen=True)
class Kept:
    """Base of what is measured once and kept as ``<folder>/<hash>.json``.

    Attributes
    ----------
    VERSION : int
        Raised by hand when measurements would change; part of their name.
    """

    VERSION: ClassVar[int]

    def to_dict(self) -> dict[str, Any]:
        """Return all that the name stands for, as plain values."""
        versions = {"measurement": self.VERSION, "numerics": NUMERICS_VERSION}
        return dataclasses.asdict(self) | {"versions": versions}

    def path(self, folder: Path) -> Path:
        """Return the path of the record."""
        return folder / f"{digest(self.to_dict())[:16]}.json"
