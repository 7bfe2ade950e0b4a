"""Choose the device and describe the machine that a run used."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import resource
import sys
from typing import Any

from ppn_tf.errors import DeviceError, OptionError

#: Packages whose versions can change a number.
PACKAGES = ("tensorflow", "jax", "jaxlib", "keras", "numpy", "scipy", "scikit-image", "h5py")


def select_device(device: str, count: int = 1) -> str:
    """Make one device, or several, the only ones that the backend uses; call it first.

    On a CPU it also calls `keep_freed_memory`.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"auto"`` (the first GPU if there is one) or the number of a GPU.
    count : int
        Number of devices for `ppn_tf.parallel`, this one and those that follow. On a CPU
        they are virtual: for tests and rehearsals.

    Returns
    -------
    str
        Name of the device, with the number of them if there are several.

    Raises
    ------
    DeviceError
        If the GPU is not there; the message names what was found.
    """
    import keras

    if device not in ("cpu", "auto") and not device.isdecimal():
        raise OptionError(f"--gpu expects a number, 'cpu' or 'auto', received {device!r}")
    if count < 1:
        raise OptionError(f"--devices expects at least 1, received {count}")
    select = _select_jax if keras.backend.backend() == "jax" else _select_tensorflow
    name = select(device, count)
    return name if count == 1 else f"{count} x {name}"


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


def _wanted(device: str, count: int, gpus: list[Any], kind: str) -> list[Any]:
    """Return the GPUs that are asked for, none for the CPU."""
    if device == "cpu" or (device == "auto" and not gpus):
        return []
    first = 0 if device == "auto" else int(device)
    last = first + count - 1
    if last >= len(gpus):
        found = ", ".join(str(getattr(gpu, "name", gpu)) for gpu in gpus) or "none"
        raise DeviceError(
            f"GPU {last} was asked for, but {kind} sees these GPUs: {found}. Use --gpu cpu, or "
            "install the extra 'gpu' and a driver"
        )
    return gpus[first : last + 1]


def _select_tensorflow(device: str, count: int) -> str:
    import tensorflow as tf

    gpus = _wanted(device, count, tf.config.list_physical_devices("GPU"), "TensorFlow")
    tf.config.set_visible_devices(gpus, "GPU")
    if not gpus:
        if count > 1:
            virtual = [tf.config.LogicalDeviceConfiguration()] * count
            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(cpu, virtual)
        keep_freed_memory()
        return f"CPU ({processor()})"
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)


def _select_jax(device: str, count: int) -> str:
    import jax

    if count > 1:
        # before the first use of any device
        jax.config.update("jax_num_cpu_devices", count)
    found = [each for each in jax.devices() if each.platform == "gpu"]
    gpus = _wanted(device, count, found, "JAX")
    jax.config.update("jax_default_device", gpus[0] if gpus else jax.devices("cpu")[0])
    if not gpus:
        keep_freed_memory()
        return f"CPU ({processor()})"
    return gpus[0].device_kind


def float32_products() -> str:
    """Return how the backend multiplies float32 matrices where the GPU has TF32.

    TF32 keeps 10 bits of the mantissa. A CPU and older GPUs have none: there it is float32.
    """
    import keras

    if keras.backend.backend() == "jax":
        import jax

        stated = jax.config.jax_default_matmul_precision
        return "TF32 allowed" if stated in (None, "default", "tensorfloat32") else str(stated)
    import tensorflow as tf

    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    return "TF32 allowed" if allowed else "float32"


def processor() -> str:
    """Return the processor's name and the number of its cores."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as stream:  # noqa: PTH123
            lines = [line for line in stream if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores"


def peak_rss_mib(process: int | None = None) -> float | None:
    """Return the largest resident memory that a process ever had [MiB].

    Parameters
    ----------
    process : int, optional
        Number of another process; this one by default.

    Returns
    -------
    float or None
        None for another process where there is no ``/proc`` or no such process.
    """
    status = f"/proc/{process or 'self'}/status"
    # getrusage also counts what the program had that started this one
    with (
        contextlib.suppress(OSError),
        open(status, encoding="ascii", errors="replace") as stream,  # noqa: PTH123
    ):
        for line in stream:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    if process is not None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # KiB, but bytes on macOS
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def set_threads(threads: int | None, worker: int | None = None) -> None:
    """Limit the backend to so many threads; call it before the first computation.

    Parameters
    ----------
    threads : int or None
        None leaves the backend's choice.
    worker : int, optional
        Number of this process among those that run side by side, from 0. By default its
        process id stands in for it.

    Notes
    -----
    JAX takes the number of threads from the processor affinity of the process: each worker
    gets processors of its own, as long as there are enough.
    """
    import keras

    if threads is None:
        return
    if threads < 1:
        raise OptionError(f"the number of threads must be at least 1, received {threads}")
    if keras.backend.backend() == "jax":
        all_of_them = sorted(os.sched_getaffinity(0))
        first = (os.getpid() if worker is None else worker) * threads
        own = {all_of_them[(first + i) % len(all_of_them)] for i in range(threads)}
        os.sched_setaffinity(0, own)
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
