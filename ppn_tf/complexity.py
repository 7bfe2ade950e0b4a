"""Size and cost of a network, by the conventions of the paper's figure 10.

Sizes are those Keras prints: all parameters, BatchNorm statistics included, at
4 bytes each, in MiB (the paper writes MB). Costs are what TensorFlow's version
1 profiler counts on the frozen inference graph of one pattern, a multiply-add
being two operations. That profiler counts convolutions, matrix products,
softmax and elementwise operations; it does not count einsum, resizing or
error-function GELU, and it counts the body of a loop once.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from ppn_tf.errors import DataError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import keras

#: Size of a float32 parameter in bytes.
PARAMETER_BYTES = 4


@dataclasses.dataclass(frozen=True)
class ParameterCounts:
    """Number of parameters of a model.

    Attributes
    ----------
    trainable : int
        Parameters that training changes by gradients.
    non_trainable : int
        BatchNorm statistics and frozen weights.
    total : int
        Sum of both.
    mib : float
        `total` at 4 bytes each, in MiB (2**20 bytes).
    """

    trainable: int
    non_trainable: int
    total: int
    mib: float


def parameter_counts(model: keras.Model) -> ParameterCounts:
    """Count the parameters of a built model.

    Parameters
    ----------
    model : keras.Model
        Any built model, on any backend. States of random generators (dropout)
        and of optimisers are not parameters and are not counted.

    Returns
    -------
    ParameterCounts

    Raises
    ------
    DataError
        If the model is not built yet, so that its weights do not exist.
    """
    if not model.built:
        raise DataError(
            f"model {model.name!r} is not built: its parameters do not exist yet; "
            "call it once, or create it with an input shape"
        )
    trainable = _elements(model.trainable_weights)
    non_trainable = _elements(model.non_trainable_weights)
    total = trainable + non_trainable
    return ParameterCounts(trainable, non_trainable, total, total * PARAMETER_BYTES / 2**20)


def _elements(weights: Iterable[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def flops(model: keras.Model) -> int:
    """Count the floating-point operations of one inference at batch size 1.

    Parameters
    ----------
    model : keras.Model
        A model with one input of fixed shape, built on the TensorFlow backend.

    Returns
    -------
    int
        Operations; divide by 1e9 for the paper's GFLOP.

    Raises
    ------
    OptionError
        On another backend than TensorFlow.
    DataError
        If the model has several inputs or an input of open size, or calls
        compiled functions into which the profiler cannot look.

    Notes
    -----
    Attention that works through blocks in a loop is undercounted; count the
    same model with its plain implementation instead.
    """
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise OptionError(
            "flops counts on TensorFlow's graph: expected the backend 'tensorflow', received "
            f"{backend!r}; set KERAS_BACKEND=tensorflow before Python starts"
        )
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or None in shapes[0]:
        raise DataError(
            f"model {model.name!r}: flops needs one input of fixed size, received {shapes}; "
            "create the model with an input_shape such as (32, 32, 1)"
        )
    return _profile(model, shapes[0])


def _profile(model: keras.Model, shape: tuple[int, ...]) -> int:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    signature = tf.TensorSpec((1, *shape), model.inputs[0].dtype)
    function = tf.function(lambda x: model(x, training=False), autograph=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(signature))
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    definition = frozen.graph.as_graph_def()
    hidden = [node.name for node in definition.node if node.op.endswith("PartitionedCall")]
    if hidden:
        raise DataError(
            f"model {model.name!r}: {len(hidden)} calls of compiled functions hide operations "
            f"from the profiler, the first is {hidden[0]}; replace grouped Keras convolutions "
            "by ppn_tf.models.ptynet.GroupedConv2D, or jit_compile functions by plain ones"
        )
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
        profile = tf.compat.v1.profiler.profile(graph, options=options)
    return int(profile.total_float_ops)
