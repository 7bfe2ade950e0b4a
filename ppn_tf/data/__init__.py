"""Where patterns come from: public files, objects, scans, forward model, data sets, splits.

Nothing in here imports Keras or a backend.
"""

from ppn_tf.data.dataset import Dataset, available, load, make
from ppn_tf.data.forward import NOISE_MODELS, NoiseModel, simulate
from ppn_tf.data.objects import (
    ComplexObject,
    available_objects,
    load_object,
    load_object_or_stand_in,
)
from ppn_tf.data.probes import load_probe, stand_in_probe
from ppn_tf.data.scan import RasterScan, raster, step_from_overlap
from ppn_tf.data.sources import PUBLIC_FILES, PublicFile, cache_directory, data_directory, fetch
from ppn_tf.data.splits import (
    REGIONS,
    TRAIN_ROWS,
    SharedPixels,
    region_indices,
    shared_pixels,
    split_validation,
    subsample,
    train_indices,
)

__all__ = [
    "NOISE_MODELS",
    "PUBLIC_FILES",
    "REGIONS",
    "TRAIN_ROWS",
    "ComplexObject",
    "Dataset",
    "NoiseModel",
    "PublicFile",
    "RasterScan",
    "SharedPixels",
    "available",
    "available_objects",
    "cache_directory",
    "data_directory",
    "fetch",
    "load",
    "load_object",
    "load_object_or_stand_in",
    "load_probe",
    "make",
    "raster",
    "region_indices",
    "shared_pixels",
    "simulate",
    "split_validation",
    "stand_in_probe",
    "step_from_overlap",
    "subsample",
    "train_indices",
]
