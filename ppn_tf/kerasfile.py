"""Networks from ``.keras`` files that may be damaged or hostile.

Keras' safe mode keeps pickled code out. What it leaves open is checked here first: other
members of the archive, modules that Keras would import, layers that read files or run
code, links out of the weights, and sizes that are declared.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import math
import random
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ppn_tf.errors import DataError, PpnError

if TYPE_CHECKING:  # Keras must not be imported before the device is chosen
    import keras

#: Largest total of the weights [bytes].
LIMIT_BYTES = 2 << 30
#: Largest text member: the configuration [bytes].
TEXT_LIMIT_BYTES = 16 << 20
#: Largest side of an input, and largest product of its sides.
MAX_SIDE, MAX_PIXELS = 1 << 14, 1 << 26
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = (CONFIG, "metadata.json", WEIGHTS)
#: Packages whose classes may be named. Keras would import any other.
PACKAGES = ("keras", "ppn_tf")
#: Parts of Keras that networks are made of.
_PARTS = frozenset(
    {
        "activations",
        "constraints",
        "dtype_policies",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "ops",
        "optimizers",
        "quantizers",
        "regularizers",
    }
)
#: Layers that run code of the file, or read files that it names.
REFUSED = frozenset(
    {
        "FlaxLayer",
        "IntegerLookup",
        "JaxLayer",
        "Lambda",
        "StringLookup",
        "TFSMLayer",
        "TextVectorization",
        "TorchModuleWrapper",
        "__lambda__",
        "__typespec__",
    }
)
#: Keys whose values are shapes.
_SHAPES = frozenset({"batch_input_shape", "batch_shape", "input_shape", "shape", "target_shape"})
_DEPTH = 64
#: What configurations have of newer Keras only, and the value that says nothing.
_NEWER: Mapping[str, Any] = MappingProxyType(
    {
        "quantization_config": None,
        "input_axes": None,
        "output_axes": None,
        "use_gate": False,
        "sliding_window": None,
        "renorm": False,
        "renorm_clipping": None,
        "renorm_momentum": 0.99,
    }
)


def load(path: Path | str, *, limit_bytes: int = LIMIT_BYTES) -> keras.Model:
    """Load a network, uncompiled and in safe mode, after `check`.

    Parameters
    ----------
    path : Path or str
    limit_bytes : int
        Largest total of the weights, as declared in the file and as the configuration
        would make them.

    Raises
    ------
    DataError
        As `check`, or if Keras cannot load the file.
    """
    import keras

    path = Path(path)
    check(path, limit_bytes=limit_bytes)
    try:
        with _for_this_keras(path) as readable:
            _check_build(readable, limit_bytes)
            return keras.saving.load_model(readable, compile=False, safe_mode=True)
    except PpnError:
        raise
    # Keras lets out whatever json, h5py, the backend and the layers raise
    except Exception as error:
        raise DataError(
            f"{path}: Keras cannot load it in safe mode ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]})"
        ) from error


@contextlib.contextmanager
def _for_this_keras(path: Path) -> Iterator[Path]:
    """Give the file, without entries of a newer Keras that say nothing and this one refuses."""
    if _knows_newer():
        yield path
        return
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(CONFIG))
        empty = [
            (item, key)
            for item in _mappings(path, config, 0)
            for key, nothing in _NEWER.items()
            if key in item and item[key] == nothing
        ]
        members = {name: archive.read(name) for name in MEMBERS} if empty else {}
    if not empty:
        yield path
        return
    for item, key in empty:
        del item[key]
    members[CONFIG] = json.dumps(config).encode()
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / path.name
        with zipfile.ZipFile(older, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        yield older


def _knows_newer() -> bool:
    import keras

    made = (
        keras.layers.BatchNormalization,
        keras.layers.Dense,
        keras.layers.MultiHeadAttention,
        keras.initializers.GlorotUniform,
    )
    known = {name for one in made for name in inspect.signature(one.__init__).parameters}
    return known.issuperset(_NEWER)


def check(path: Path | str, *, limit_bytes: int = LIMIT_BYTES) -> None:
    """Refuse a file for what it holds, before Keras sees it.

    Raises
    ------
    DataError
        For a file that is no archive of `MEMBERS`; for a class of another package or one
        of `REFUSED`; for inputs larger than `MAX_PIXELS`; for weights that lie in another
        file or are larger than `limit_bytes`.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive, limit_bytes)
            config = json.loads(archive.read(CONFIG))
            weights = archive.read(WEIGHTS)
    except PpnError:
        raise
    # zipfile, zlib, struct and json all raise errors of their own on such files
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as .keras ({type(error).__name__}: {error}): it may be "
            "truncated"
        ) from error
    for item in _mappings(path, config, 0):
        _check_class(path, item)
        _check_shapes(path, item)
    _check_weights(path, weights, limit_bytes)


def _check_members(path: Path, archive: zipfile.ZipFile, limit_bytes: int) -> None:
    members = archive.infolist()
    names = sorted(item.filename for item in members)
    if names != sorted(MEMBERS):
        raise DataError(
            f"{path}: expected the members {', '.join(MEMBERS)}, once each, received "
            f"{', '.join(names[:10]) or '(none)'}"
        )
    for item in members:
        # an HDF5 file is little more than its arrays
        limit = 2 * limit_bytes if item.filename == WEIGHTS else TEXT_LIMIT_BYTES
        if item.file_size > limit:
            raise DataError(
                f"{path}: {item.filename} unpacks to {item.file_size} bytes: expected at most "
                f"{limit}"
            )
        if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{path}: {item.filename} is neither stored nor deflated")


def _mappings(path: Path, value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a configuration."""
    if depth > _DEPTH:
        raise DataError(f"{path}: {CONFIG} nests deeper than {_DEPTH} levels")
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _mappings(path, item, depth + 1)


def _check_class(path: Path, item: dict[str, Any]) -> None:
    if "class_name" not in item:
        return
    name, module = item["class_name"], item.get("module")
    registered = item.get("registered_name")
    known = isinstance(name, str) and name not in REFUSED
    if known and isinstance(registered, str) and ">" in registered and _registered(registered):
        return
    if known and module is not None:
        known = isinstance(module, str) and _allowed(module, name, item.get("config"))
    if known and registered is not None:
        # "package>name"
        package, mark, _ = str(registered).rpartition(">")
        known = not mark or package in PACKAGES
    if not known:
        raise DataError(
            f"{path}: {CONFIG} names {str(module)[:80]}.{str(name)[:80]}, which is not loaded from "
            f"a file: expected layers of {' or '.join(PACKAGES)} that run no code of their own, or "
            "registered ones"
        )


def _registered(name: str) -> bool:
    """Tell whether this process has registered a class: it runs no code that is not here."""
    import keras

    return keras.saving.get_registered_object(name) is not None


def _allowed(module: str, name: str, config: Any) -> bool:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return False
    if module == "builtins":
        # how Keras writes its own functions by name, and None for a layer of an old file
        return name == "function" and isinstance(config, str)
    if parts[0] == "ppn_tf":
        return len(parts) > 1 and parts[1] in ("layers", "losses", "models") and name != "function"
    inner = parts[2:] if parts[:2] == ["keras", "src"] else parts[1:]
    if parts[0] != "keras":
        return False
    if name == "function":
        return bool(inner) and inner[0] in ("activations", "ops")
    if not inner or inner[0] == "models":
        return name in ("DTypePolicy", "Functional", "Model", "Sequential")
    return inner[0] in _PARTS


def _check_shapes(path: Path, item: dict[str, Any]) -> None:
    for key in _SHAPES & item.keys():
        for sides in _flat(item[key]):
            fits = all(isinstance(n, int) and abs(n) <= MAX_SIDE for n in sides)
            if not fits or math.prod(max(abs(n), 1) for n in sides) > MAX_PIXELS:
                raise DataError(
                    f"{path}: {CONFIG} declares the {key} {str(item[key])[:80]}: expected sides up "
                    f"to {MAX_SIDE} and at most {MAX_PIXELS} values"
                )


def _flat(value: Any) -> Iterator[list[Any]]:
    """Yield every list of sides in a shape, a list of shapes, or a mapping of them."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return
    sides = [item for item in value if not isinstance(item, (list, dict, str, type(None)))]
    if sides:
        yield sides
    for item in value:
        yield from _flat(item)


def _check_weights(path: Path, content: bytes, limit_bytes: int) -> None:
    from ppn_tf.data.formats import hdf5

    total = hdf5.total_bytes(io.BytesIO(content), f"{path}: {WEIGHTS}")
    if total > limit_bytes:
        raise DataError(f"{path}: {WEIGHTS} declares {total} bytes: expected at most {limit_bytes}")


def _check_build(path: Path, limit_bytes: int) -> None:
    """Build the network without its weights, and refuse it if they would be too large.

    In a thread of its own, since Keras keeps what such a build leaves behind per thread.
    """
    found: list[int | Exception] = []
    state = random.getstate()
    thread = threading.Thread(target=_weigh, args=(path, found))
    thread.start()
    thread.join()
    # initialisers draw their seeds from here: the check must not move the weights made after it
    random.setstate(state)
    if isinstance(found[0], Exception):
        raise found[0]
    if found[0] > limit_bytes:
        raise DataError(
            f"{path}: {CONFIG} declares a network of {found[0]} bytes: expected at most "
            f"{limit_bytes}"
        )


def _weigh(path: Path, found: list[int | Exception]) -> None:
    import keras

    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read(CONFIG))
        # the optimiser of a compiled network would make its variables here; it is not loaded
        config.pop("compile_config", None)
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            if not isinstance(model, keras.Model):
                raise DataError(f"{path}: {CONFIG} is no network but a {type(model).__name__}")
            found.append(4 * sum(math.prod(weight.shape) for weight in model.weights))
    except BaseException as error:
        found.append(error if isinstance(error, Exception) else DataError(f"{path}: {error!r}"))
