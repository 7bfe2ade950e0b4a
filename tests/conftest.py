"""Shared fixtures: the data directory and a small synthetic data set."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the public files; missing data fail in CI and skip elsewhere."""
    value = os.environ.get("PPN_TF_DATA")
    if value and Path(value).is_dir():
        return Path(value)
    message = f"PPN_TF_DATA does not name a folder with the public files (received {value!r})"
    if os.environ.get("CI") and value:
        pytest.fail(message)
    pytest.skip(message)
