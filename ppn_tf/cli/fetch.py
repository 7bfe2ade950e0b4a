"""Download the public data: the object and the probe of the paper, measured scans.

Files are looked for in $PPN_TF_DATA, then in the user cache, then downloaded there, and
are checked by their sha256 whatever the place.

Example:
  ppn-tf fetch
  ppn-tf fetch --list
  ppn-tf fetch nanoprobe26id/scan247.npz
"""

from __future__ import annotations

import argparse

from ppn_tf.cli.answer import Answer

#: What is fetched where no name is given: what the paper's simulations need.
_DEFAULT = ("ltem/design_amp.tiff", "ltem/design_tphi.tiff", "probe/pxy_probe1000.npy")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"files, see --list (default: {' '.join(_DEFAULT)})",
    )
    parser.add_argument("--list", action="store_true", help="list the files, download nothing")
    parser.add_argument(
        "--timeout", type=float, default=20.0, metavar="S", help="seconds to wait for bytes (20)"
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Fetch.

    Raises
    ------
    PpnError
        For an unknown name, or a file that cannot be had.
    """
    from ppn_tf.data import sources

    if arguments.list:
        rows = [
            {
                "name": file.name,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "url": file.url,
                "licence": file.licence,
                "citation": file.citation,
            }
            for file in sources.PUBLIC_FILES.values()
        ]
        width = max(len(row["name"]) for row in rows)
        lines = [
            f"{row['name']:<{width}}  {row['size_bytes'] / 1e6:8.1f} MB  {row['licence']}"
            + ("" if row["url"] else "  (no public address)")
            for row in rows
        ]
        return Answer("\n".join(lines), {"available": rows, "files": []})
    names = arguments.names or list(_DEFAULT)
    paths = {
        name: str(sources.fetch(name, timeout_s=arguments.timeout, progress=True)) for name in names
    }
    text = "\n".join(f"{name}: {path}" for name, path in paths.items())
    return Answer(text, {"paths": paths, "files": list(paths.values())})
