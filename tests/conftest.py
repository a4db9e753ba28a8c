"""What every test shares: the folder of real data."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real maps, models and tables that HELIXLAB_DATA names.

    Skips with a reason where the variable is unset; in CI (CI=true) no test may be skipped for want of data.
    """
    named = os.environ.get("HELIXLAB_DATA")
    if named and Path(named).is_dir():
        return Path(named)
    reason = (
        f"HELIXLAB_DATA names {named!r}, which is no folder"
        if named
        else "HELIXLAB_DATA is unset; set it to the folder of real data to run this test"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
