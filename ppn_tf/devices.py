"""Choose the device and describe the machine that a run used."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
from typing import Any

from ppn_tf.errors import DeviceError, OptionError

#: Packages whose versions can change a number.
PACKAGES = ("tensorflow", "jax", "jaxlib", "keras", "numpy", "scipy", "scikit-image", "h5py")


def select_device(device: str) -> str:
    """Make one device the only one that the backend uses; call it first.

    On a CPU it also calls `keep_freed_memory`.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"auto"`` (the first GPU if there is one) or the number of a GPU.

    Returns
    -------
    str
        Name of the device.

    Raises
    ------
    DeviceError
        If the GPU is not there; the message names what was found.
    """
    import keras

    if device not in ("cpu", "auto") and not device.isdecimal():
        raise OptionError(f"--gpu expects a number, 'cpu' or 'auto', received {device!r}")
    select = _select_jax if keras.backend.backend() == "jax" else _select_tensorflow
    return select(device)


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory in the process instead of returning it.

    A training step on a CPU takes and frees hundreds of MiB; returned to the system, they
    come back page by page, which costs time. Only glibc knows the request.

    Returns
    -------
    bool
        Whether it was understood.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD of malloc.h
    requests = ((-8, 1), (-4, 0), (-1, 2**31 - 1), (-2, 2**29))
    return all(mallopt(*request) == 1 for request in requests)


def _wanted(device: str, gpus: list[Any], kind: str) -> Any:
    """Return the GPU that is asked for, None for the CPU."""
    if device == "cpu" or (device == "auto" and not gpus):
        return None
    index = 0 if device == "auto" else int(device)
    if index >= len(gpus):
        found = ", ".join(str(getattr(gpu, "name", gpu)) for gpu in gpus) or "none"
        raise DeviceError(
            f"GPU {index} was asked for, but {kind} sees these GPUs: {found}. Use --gpu cpu, or "
            "install the extra 'gpu' and a driver"
        )
    return gpus[index]


def _select_tensorflow(device: str) -> str:
    import tensorflow as tf

    gpu = _wanted(device, tf.config.list_physical_devices("GPU"), "TensorFlow")
    tf.config.set_visible_devices([] if gpu is None else [gpu], "GPU")
    if gpu is None:
        keep_freed_memory()
        return f"CPU ({processor()})"
    tf.config.experimental.set_memory_growth(gpu, True)
    return tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)


def _select_jax(device: str) -> str:
    import jax

    gpus = [found for found in jax.devices() if found.platform == "gpu"]
    gpu = _wanted(device, gpus, "JAX")
    jax.config.update("jax_default_device", gpu or jax.devices("cpu")[0])
    if gpu is None:
        keep_freed_memory()
        return f"CPU ({processor()})"
    return gpu.device_kind


def processor() -> str:
    """Return the processor's name and the number of its usable cores."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as stream:  # noqa: PTH123
            lines = [line for line in stream if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores"


def set_threads(threads: int | None) -> None:
    """Limit the backend to so many threads; call it before the first computation.

    Parameters
    ----------
    threads : int or None
        None leaves the backend's choice.

    Notes
    -----
    JAX takes the number of threads from the processor affinity of the process.
    """
    import keras

    if threads is None:
        return
    if threads < 1:
        raise OptionError(f"the number of threads must be at least 1, received {threads}")
    if keras.backend.backend() == "jax":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def versions() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES`, those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
