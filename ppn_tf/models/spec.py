"""What a network file declares about its network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One network of the registry.

    Attributes
    ----------
    name : str
        Name under which the network is created.
    side_multiple : int
        Height and width of the input, in pixels, must be multiples of it.
    build : callable
        From the scaled input (B, H, W, 1), and the options as keyword
        arguments, to the tensors (amplitude, phase), (B, H, W, 1) each.
    max_side : int or None
        Largest side in pixels, where memory explodes beyond.
    options : mapping
        Option name to its allowed values, the default first.
    description : str
        One line for listings.
    """

    name: str
    side_multiple: int
    build: Callable
    max_side: int | None = None
    options: Mapping[str, tuple] = dataclasses.field(default_factory=dict)
    description: str = ""
