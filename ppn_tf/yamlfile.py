"""YAML files that may be damaged or hostile: plain values, a bounded size, no references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ppn_tf.errors import DataError

#: Largest file that is read [bytes].
LIMIT_BYTES = 4 << 20
#: Deepest nesting of lists and mappings.
MAX_DEPTH = 32


class _PlainLoader(yaml.SafeLoader):
    """The safe loader, without references: they can make a small file grow without end."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node; count how deep it lies."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, "references (*name) are not read", event.start_mark
            )
        if self.depth >= MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, f"deeper than {MAX_DEPTH} levels", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def read(path: Path | str) -> Any:
    """Read a file of plain values: texts, numbers, lists, mappings.

    Raises
    ------
    DataError
        If the file cannot be read, is larger than `LIMIT_BYTES`, nests deeper than
        `MAX_DEPTH`, holds references, or names anything but plain values.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise DataError(f"{path}: expected at most {LIMIT_BYTES} bytes, received {size}")
        # the class is a SafeLoader: it constructs plain values only
        return yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)  # noqa: S506
    except DataError:
        raise
    # ValueError: impossible dates, numbers of too many digits, no UTF-8; the others come
    # from PyYAML's scanner and constructors on broken files
    except (
        OSError,
        yaml.YAMLError,
        ValueError,
        OverflowError,
        RecursionError,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
    ) as error:
        raise DataError(f"{path}: cannot be read as YAML: {error}") from error
