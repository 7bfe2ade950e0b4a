"""PPN: polar coordinate attention for ptychographic imaging.

Importing this package imports neither Keras nor a backend; the submodules, and the
functions of `ppn_tf.api` that are at hand here (``ppn_tf.infer`` and others), do when
they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_FUNCTIONS = ("infer", "load_model", "save_model", "stitch", "train")
_MODULES = ("api", "data", "models")


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    if name in _FUNCTIONS:
        return getattr(importlib.import_module("ppn_tf.api"), name)
    if name in _MODULES:
        return importlib.import_module(f"ppn_tf.{name}")
    raise AttributeError(f"module 'ppn_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List also what is imported when it is used."""
    return sorted({*globals(), *_FUNCTIONS, *_MODULES})
