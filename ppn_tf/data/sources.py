"""Public files: where each one comes from, and how we know that it is the right one.

A file is looked for below ``$PPN_TF_DATA`` first, then in the user cache, then
at its public address. Whatever the place, its size and sha256 decide.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import pooch
import requests

from ppn_tf.errors import OptionError, SourceError, SourceMissingError

#: Environment variable that names the folder with the public files.
DATA_VARIABLE = "PPN_TF_DATA"
#: Environment variable that forbids downloads when it is "1".
OFFLINE_VARIABLE = "PPN_TF_OFFLINE"

_LTEM = (
    "https://raw.githubusercontent.com/danielzt12/AD_LTEM/6a847fd890620180aa7e35c4fac449da75547e92/"
)
_PTYNET = (
    "https://raw.githubusercontent.com/paidaxinbao/PtyNet/45e1a2f372641ab02df6eceaa2ce4d575ccff3b3/"
)
_PTYCHONN = "https://huggingface.co/datasets/mcherukara/PtychoNN_data/resolve/main/"

_CITE_LTEM = (
    "T. Zhou, M. Cherukara and C. Phatak, npj Computational Materials 7, 141 (2021), "
    "doi:10.1038/s41524-021-00600-x"
)
_CITE_PTYNET = "X. Pan et al., iScience 26(12) (2023), PMC10687283"
_CITE_PTYCHONN = (
    "M. J. Cherukara et al., Applied Physics Letters 117, 044103 (2020), doi:10.1063/5.0013065"
)
_CITE_TIKE = "tike, Argonne National Laboratory, tests/data/position-error-247.pickle.bz2"


@dataclasses.dataclass(frozen=True)
class PublicFile:
    """One file that others have published.

    Attributes
    ----------
    name : str
        Path below the data directory, with forward slashes.
    url : str or None
        Public address; None for a file that can only lie in ``$PPN_TF_DATA``.
    sha256 : str
        Checksum of the content, 64 hexadecimal digits. It decides, not the address.
    size_bytes : int
        Length of the content.
    licence : str
        Terms under which the file was published.
    citation : str
        What to cite when the file is used.
    """

    name: str
    url: str | None
    sha256: str
    size_bytes: int
    licence: str
    citation: str


_FILES = (
    PublicFile(
        "ltem/design_amp.tiff",
        _LTEM + "design_amp.tiff",
        "7e4f53ed8f7532f75e79fab5d7633112f1c41805744af891e6662ebb70725aa5",
        1_050_108,
        "MIT",
        _CITE_LTEM,
    ),
    PublicFile(
        "ltem/design_tphi.tiff",
        _LTEM + "design_tphi.tiff",
        "b3c3c3f93e23db5505979b22ebaa0a751775ba8e370f483758cbac866066a068",
        1_050_110,
        "MIT",
        _CITE_LTEM,
    ),
    PublicFile(
        "probe/pxy_probe1000.npy",
        _PTYNET + "pxy_probe1000.npy",
        "e49c7c61baabf84a811bd796462d29a179bd3ed0e91ecbbaf54ed89f2811d4a8",
        262_272,
        "MIT",
        _CITE_PTYNET,
    ),
    # repacked from the pickle in tike's source distribution, so it has no address of its own
    PublicFile(
        "nanoprobe26id/scan247.npz",
        None,
        "4d9d7dcdbdd3fff87dffecb2be83a1a932d141f761945379327ee1ea67f20d81",
        14_075_555,
        "BSD-3-Clause",
        _CITE_TIKE,
    ),
    PublicFile(
        "ptychonn/20191008_39_diff_reduced.npz",
        _PTYCHONN + "20191008_39_diff_reduced.npz",
        "276a8021ca630c6d381b628726d5656ab9e867589978ce9ba0ec39263cfa1ec3",
        80_528_576,
        "see the page of the data set",
        _CITE_PTYCHONN,
    ),
    PublicFile(
        "ptychonn/20191008_39_amp_pha_10nm_full.npy",
        _PTYCHONN + "20191008_39_amp_pha_10nm_full.npy",
        "2f0740e8aeb1d3866d6dfecd58e4d4aa5553e0ca53fe1ebbf6df1e82271d6395",
        849_379_456,
        "see the page of the data set",
        _CITE_PTYCHONN,
    ),
    PublicFile(
        "ptychonn/20191008_39_diff.npz",
        _PTYCHONN + "20191008_39_diff.npz",
        "ac298377ea7885902a91ba098bd00307518743c47a5d57396e435f31e0f9beca",
        588_494_609,
        "see the page of the data set",
        _CITE_PTYCHONN,
    ),
    PublicFile(
        "ptychonn/X_test.npy",
        _PTYCHONN + "X_test.npy",
        "e404c32f64f9129be6d4c3ad867f4197901afa948966dc8df7b4716de5208166",
        117_964_928,
        "see the page of the data set",
        _CITE_PTYCHONN,
    ),
)

#: Every public file, by its path below the data directory.
PUBLIC_FILES: Mapping[str, PublicFile] = MappingProxyType({file.name: file for file in _FILES})


def data_directory() -> Path | None:
    """Return the folder that ``$PPN_TF_DATA`` names, None where it is unset.

    Raises
    ------
    SourceError
        If the variable names something that is not a folder.
    """
    value = os.environ.get(DATA_VARIABLE, "")
    if not value:
        return None
    folder = Path(value)
    if not folder.is_dir():
        raise SourceError(
            f"{DATA_VARIABLE} must name an existing folder, received {value!r}: "
            "correct the variable, or unset it to use the user cache"
        )
    return folder


def cache_directory() -> Path:
    """Return the folder for downloads in the user's cache (it may not exist yet)."""
    return Path(pooch.os_cache("ppn_tf"))


def fetch(
    name: str, *, download: bool = True, timeout_s: float = 20, progress: bool = False
) -> Path:
    """Return the path of a public file whose checksum has been verified.

    Parameters
    ----------
    name : str
        Key of `PUBLIC_FILES`.
    download : bool
        Whether a file that is nowhere on this computer may be downloaded.
        ``PPN_TF_OFFLINE=1`` forbids it whatever is said here.
    timeout_s : float
        Seconds to wait for the server to connect and between bytes.
    progress : bool
        Show a bar on standard error while downloading.

    Returns
    -------
    Path

    Raises
    ------
    OptionError
        For an unknown name.
    SourceMissingError
        If the file is neither in the data directory nor in the cache and
        could not, or was not allowed to, be downloaded.
    SourceError
        If a file is there but has the wrong length or checksum, or if the
        cache cannot be written. Nothing falls back from a wrong file.
    """
    if name not in PUBLIC_FILES:
        raise OptionError(
            f"unknown public file {name!r}: expected one of {', '.join(PUBLIC_FILES)}"
        )
    file = PUBLIC_FILES[name]
    folder = data_directory()
    for place in (folder, cache_directory()):
        if place is not None and (place / name).is_file():
            return _verified(place / name, file)
    reason = None
    if file.url is None:
        reason = f"it has no public address and can only lie in {DATA_VARIABLE}"
    elif os.environ.get(OFFLINE_VARIABLE) == "1":
        reason = f"{OFFLINE_VARIABLE}=1 forbids the download from {file.url}"
    elif not download:
        reason = f"the download from {file.url} was not asked for"
    if reason is not None:
        raise SourceMissingError(_missing(file, folder, reason))
    return _download(file, folder, timeout_s, progress)


def _download(file: PublicFile, folder: Path | None, timeout_s: float, progress: bool) -> Path:
    target = cache_directory() / file.name
    try:
        path = pooch.retrieve(
            file.url,
            known_hash=f"sha256:{file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(timeout=timeout_s, progressbar=progress),
        )
    except requests.RequestException as error:
        reason = f"the download from {file.url} failed ({type(error).__name__}: {error})"
        raise SourceMissingError(_missing(file, folder, reason)) from error
    except OSError as error:
        raise SourceError(
            f"could not write {target} ({error.strerror or error}): free space in the cache, or "
            f"place the file below a folder of your choice and name that in {DATA_VARIABLE}"
        ) from error
    except ValueError as error:  # pooch removes what it downloaded and says so with ValueError
        raise SourceError(
            f"{file.name} as downloaded from {file.url} is not the expected file and was removed: "
            f"expected sha256 {file.sha256}. {error} Try again; if it stays so, the file has "
            f"changed at its source: get the original and place it in {DATA_VARIABLE}"
        ) from error
    return _verified(Path(path), file)


def _missing(file: PublicFile, folder: Path | None, reason: str) -> str:
    where = "not set" if folder is None else str(folder)
    drawn = file.name.startswith(("ltem/", "probe/"))
    return (
        f"{file.name} was not found ({DATA_VARIABLE}: {where}; cache: {cache_directory()}) and "
        f"{reason}. Place it at {file.name} below a folder and set {DATA_VARIABLE} to that "
        f"folder (sha256 {file.sha256}, {file.size_bytes} bytes)"
        + (", or use the drawn chart and probe, 'stand-in'" if drawn else "")
    )


def _verified(path: Path, file: PublicFile) -> Path:
    status = path.stat()
    advice = f"remove it and get it again from {file.url or 'where you had it'}"
    if status.st_size != file.size_bytes:
        raise SourceError(
            f"{path} is not the expected file: expected {file.size_bytes} bytes, received "
            f"{status.st_size}: {advice}"
        )
    received = _sha256(path, status.st_size, status.st_mtime_ns)
    if received != file.sha256:
        raise SourceError(
            f"{path} is not the expected file: expected sha256 {file.sha256}, received "
            f"{received}: {advice}"
        )
    return path


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size_bytes: int, mtime_ns: int) -> str:
    """Checksum of a file; size and time are there to tell a changed file apart."""
    with path.open("rb") as stream:
        return _digest(stream)


def _digest(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()
