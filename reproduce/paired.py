"""Pairs of runs: the same seed on the same backend.

One seed fixes split, batch order, jitter and noise for all methods alike; the backend must be
the same too, so that a difference of two methods is none of two backends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

#: Method to seed to record.
Records = Mapping[str, Mapping[int, Record]]


class Finished(dict[str, Any]):
    """A record with those of the same run on other backends.

    Attributes
    ----------
    others : tuple of dict
    """

    others: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any], others: Sequence[dict[str, Any]]) -> Finished:
        """Return a record with others."""
        found = cls(record)
        found.others = tuple(others)
        return found


def by_backend(record: Record) -> dict[str, Record]:
    """Return a run's records by backend, its own first; one without an environment has no name."""
    found = {}
    for one in (record, *getattr(record, "others", ())):
        found.setdefault(one.get("environment", {}).get("backend", ""), one)
    return found


def name(record: Record) -> str:
    """Return the run's hash and backend, as its file lies in ``results/runs``: HASH/BACKEND.

    A record without an environment has its hash alone.
    """
    backend = record.get("environment", {}).get("backend")
    return f"{record['hash']}/{backend}" if backend else record["hash"]


def rows(records: Records, methods: Sequence[str]) -> dict[int, list[Record]]:
    """Return the records of every seed that all methods have on one backend.

    Parameters
    ----------
    records : mapping
    methods : sequence of str

    Returns
    -------
    dict
        Seed to records in the order of `methods`. Where two backends serve, that of the
        first method's own record.
    """
    seeds = set.intersection(*(set(records.get(method, {})) for method in methods))
    found = {}
    for seed in sorted(seeds):
        each = [by_backend(records[method][seed]) for method in methods]
        backend = next((name for name in each[0] if all(name in one for one in each)), None)
        if backend is not None:
            found[seed] = [one[backend] for one in each]
    return found


def pair(records: Records, methods: tuple[str, str]) -> tuple[dict[int, Record], ...]:
    """Return seed to record of two methods, for the seeds of `rows`."""
    found = rows(records, methods)
    return tuple({seed: row[place] for seed, row in found.items()} for place in range(2))
