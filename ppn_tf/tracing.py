"""What TensorFlow keeps of the functions that it traces, and how it lets go of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


@contextlib.contextmanager
def graphs_released() -> Iterator[None]:
    """Let the graphs that are traced inside be freed with the networks that they belong to.

    TensorFlow registers the gradient of every ``custom_gradient`` in a graph under a new
    name, for good, and with it the whole graph. The sum of gradients in each optimiser of
    Keras is one, block-wise attention another: without this, every training stays in
    memory. Other backends keep nothing of the kind.

    Notes
    -----
    Only `tf.gradients`, and a tape around a whole ``tf.function``, ask for a registered
    gradient; Keras' steps are differentiated as they are traced. A function that another
    thread traces meanwhile must not be differentiated in one of these ways.
    """
    registry = _registry()
    before = frozenset(registry)
    try:
        yield
    finally:
        for name in registry.keys() - before:
            if name.startswith("CustomGradient-"):
                registry.pop(name, None)


def _registry() -> dict[str, Any]:
    if keras.backend.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops

    # private: a version without it keeps the graphs, and does no harm
    return getattr(getattr(ops, "gradient_registry", None), "_registry", {})


def clear() -> None:
    """Forget what networks that are gone left in this process; call it between runs.

    Beside `graphs_released`: TensorFlow keeps the kernels that ran, and the generators that
    batches came from, until Keras' session is cleared. Networks that are still there go on
    working; Keras counts the names of layers anew, and a global dtype policy is forgotten.
    """
    keras.utils.clear_session()
