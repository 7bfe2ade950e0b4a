"""Keras layers of PPN; all are serializable under ``ppn_tf``."""

from ppn_tf.layers.attention import attend
from ppn_tf.layers.poca import PixelSelfAttention, PolarCoordinateAttention
from ppn_tf.layers.scaling import PatternScaling, TargetScaling
from ppn_tf.layers.vit import PatchExtraction, PositionEmbedding

__all__ = [
    "PatchExtraction",
    "PatternScaling",
    "PixelSelfAttention",
    "PolarCoordinateAttention",
    "PositionEmbedding",
    "TargetScaling",
    "attend",
]
