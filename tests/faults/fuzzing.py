"""Valid small files, and the loop that damages them and reads them again."""

import os
import random
import resource
import time
from pathlib import Path

import h5py
import mutations
import numpy as np
import tifffile

from ppn_tf import devices
from ppn_tf.data import formats
from ppn_tf.data.formats import Scan
from ppn_tf.errors import PpnError

#: Limit that the readers are given, and what they may take beyond it [MiB].
LIMIT_MIB = 32
#: Address space that a worker may use beyond what it has at its start [MiB].
SPACE_MIB = 1024
#: Parts of the geometry that every seed states.
KNOWN = {"energy_eV": 8000.0, "distance_m": 1.0, "detector_pixel_m": 1e-4}


def scan():
    """A scan of 4 patterns of 8 x 8 px with every field."""
    rng = np.random.default_rng(0)
    wave = rng.standard_normal((1, 8, 8)) + 1j * rng.standard_normal((1, 8, 8))
    return Scan(
        patterns=rng.poisson(9, (4, 8, 8)).astype(np.float32),
        positions_px=np.array([[0.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 3.0]]),
        probe=wave.astype(np.complex64),
        object=np.ones((11, 11), np.complex64),
        mask=np.ones((8, 8), bool),
        **KNOWN,
    )


def npz_seeds(folder):
    """Own, PtychoPINN and PtychoNN files."""
    formats.write(folder / "own.npz", scan())
    yield folder / "own.npz", {}
    formats.write(folder / "pinn.npz", scan(), layout="ptychopinn")
    yield folder / "pinn.npz", {"position_point": None}
    np.savez(
        folder / "nn.npz", reciprocal=np.ones((4, 8, 8)), scan=np.arange(8.0).reshape(4, 2) * 1e-6
    )
    yield folder / "nn.npz", {"zero_frequency": "centre", "position_frame": "probe", **KNOWN}


def product_seeds(folder):
    """Patterns and product in one file, in the oldest and the newest layout of HDF5."""
    for libver in ("earliest", "latest"):
        path = folder / f"{libver}.h5"
        formats.write(folder / "p_para.h5", scan(), patterns=folder / "p_dp.h5", name="n")
        with h5py.File(path, "w", libver=libver) as file:
            for source in ("p_para.h5", "p_dp.h5"):
                with h5py.File(folder / source) as part:
                    file.attrs.update(part.attrs)
                    for key in part:
                        part.copy(key, file)
        yield path, {}


def cxi_seeds(folder):
    """A file with links, gzip and chunks."""
    for name, storage in (("plain", {}), ("packed", {"chunks": (1, 8, 8), "compression": "gzip"})):
        path = folder / f"{name}.cxi"
        with h5py.File(path, "w") as file:
            detector = file.create_group("entry_1/instrument_1/detector_1")
            detector.create_dataset("data", data=scan().patterns, **storage)
            detector["distance"] = 1.0
            detector["x_pixel_size"], detector["y_pixel_size"] = 1e-4, 1e-4
            detector["mask"] = np.zeros((8, 8), np.uint32)
            file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
            place = np.concatenate([scan().positions_m[:, ::-1], np.zeros((4, 1))], axis=1)
            file["entry_1/sample_1/geometry_1/translation"] = place
            file["entry_1/instrument_1/source_1/energy"] = 8000.0 * 1.602176634e-19
            file["entry_1/instrument_1/source_1/illumination"] = scan().probe
            file["entry_1/definition"] = "CXI"
        yield path, {"position_frame": "probe", "position_axes": "+y+x", "zero_frequency": "centre"}


def ptyd_seeds(folder):
    """Two chunks, with weights and geometry."""
    path = folder / "a.ptyd"
    with h5py.File(path, "w") as file:
        for chunk, frames in (("0", slice(0, 2)), ("1", slice(2, 4))):
            group = file.create_group(f"chunks/{chunk}")
            group["data"] = scan().patterns[frames]
            group["positions"] = scan().positions_m[frames]
            group["indices"] = np.arange(4)[frames]
            group["weights"] = np.ones((2, 8, 8))
        file["meta/energy"], file["meta/distance"], file["meta/psize"] = 8.0, 1.0, [1e-4, 1e-4]
        file["meta/center"] = [4.0, 4.0]
        file["meta/propagation"] = "farfield"
    yield path, {}


def tiff_seeds(folder):
    """Grey images in strips."""
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    tifffile.imwrite(folder / "a.tiff", image, rowsperstrip=2)
    yield folder / "a.tiff", {}
    tifffile.imwrite(folder / "b.tiff", image.astype(np.uint16), byteorder=">", bigtiff=True)
    yield folder / "b.tiff", {}


def yaml_seeds(folder):
    """Two published numbers."""
    path = folder / "a.yaml"
    path.write_text(
        "- {id: a.b, where: 'Table I', value: 14.42, unit: dB, printed_unit: 0.01, sd: 0.08}\n"
        "- id: c\n  where: text\n  value: null\n  unit: '%'\n  printed_unit: 1\n  sd: null\n"
        "  contradicted_by: [a.b]\n  note: |\n    two\n    lines\n"
    )
    yield path, {}


def keras_seeds(folder):
    """A network with attention and scaling, and one without."""
    import keras

    from ppn_tf.layers import PatternScaling, PolarCoordinateAttention

    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(4, 3, padding="same")(PatternScaling("log1p", 0.0, 1.0)(inputs))
    x = keras.layers.Dropout(0.1)(PolarCoordinateAttention(2, 4)(x))
    heads = {name: keras.layers.Conv2D(1, 1, name=name)(x) for name in ("amplitude", "phase")}
    keras.Model(inputs, heads).save(folder / "a.keras")
    yield folder / "a.keras", {}
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu")])
    plain.save(folder / "b.keras")
    yield folder / "b.keras", {}


def _read_scan(path, flags):
    formats.read(path, memory_limit_gib=LIMIT_MIB / 1024, **flags)


def _read_tiff(path, _flags):
    from ppn_tf import tiff

    tiff.read(path, LIMIT_MIB << 20)


def _read_yaml(path, _flags):
    from reproduce import paper

    paper.load_paper(path)


def _read_keras(path, _flags):
    from ppn_tf import kerasfile

    kerasfile.load(path, limit_bytes=LIMIT_MIB << 20)


#: Seeds, mutation and reader of every kind of file.
KINDS = {
    "npz": (npz_seeds, mutations.damaged_zip, _read_scan),
    "HDF5 product": (product_seeds, mutations.damaged, _read_scan),
    "CXI": (cxi_seeds, mutations.damaged, _read_scan),
    "ptyd": (ptyd_seeds, mutations.damaged, _read_scan),
    "TIFF": (tiff_seeds, mutations.damaged, _read_tiff),
    "YAML": (yaml_seeds, mutations.damaged_yaml, _read_yaml),
    ".keras": (keras_seeds, mutations.damaged_zip, _read_keras),
}


def loop(say, kind, folder, start, stop, seed):
    """Read inputs `start` to `stop`; say how each ended.

    An input depends on `seed` and its number alone, so that one can be made again.
    """
    make, damage, read = KINDS[kind]
    folder = Path(folder) / f"{kind.strip('.')}-{start}"
    folder.mkdir(parents=True)
    seeds = [(path.read_bytes(), path.suffix, flags) for path, flags in make(folder)]
    for content, suffix, flags in seeds:
        target = folder / f"whole{suffix}"
        target.write_bytes(content)
        read(target, flags)
    limit_memory()
    before = devices.peak_rss_mib()
    for number in range(start, stop):
        rng = random.Random(f"{seed} {kind} {number}")
        content, suffix, flags = rng.choice(seeds)
        target = folder / f"input{suffix}"
        target.write_bytes(damage(content, rng))
        began, outcome, error = time.monotonic(), "accepted", ""
        try:
            read(target, flags)
        except PpnError:
            outcome = "refused"
        except BaseException as other:
            outcome, error = "foreign", f"{type(other).__name__}: {other}"[:300]
        values = {"number": number, "outcome": outcome, "error": error}
        grown, seconds = devices.peak_rss_mib() - before, time.monotonic() - began
        say(event="input", **values, grown_mib=grown, seconds=seconds)


def limit_memory():
    """Let no allocation take the worker beyond `SPACE_MIB` more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + (SPACE_MIB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
