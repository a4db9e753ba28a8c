"""What every test shares: JAX's configuration, the folder of real data, a way round the annotation checks.

pyproject.toml turns on runtime checking of every call of helixlab: shapes by jaxtyping, types by beartype.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest

# The same examples on every run; no deadline, because a busy machine is no failure.
hypothesis.settings.register_profile("helixlab", derandomize=True, deadline=None)
hypothesis.settings.load_profile("helixlab")

COMPILATION_CACHE = {
    "jax_persistent_cache_min_compile_time_secs": 0.1,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_compilation_cache_max_size": 512 * 1024**2,  # a bounded cache is a locked one: workers write side by side
}


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled kernels from run to run: a third of the time of the second run."""
    if not hasattr(config, "cache"):  # pytest -p no:cacheprovider
        return
    settings = {"jax_compilation_cache_dir": str(config.cache.mkdir("jax")), **COMPILATION_CACHE}
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # the commands and notebooks that tests start


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


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Calls in this test go through as they do for users, whose calls nobody checks against annotations.

    For tests of the message that a wrong shape or type gets: @pytest.mark.usefixtures("unchecked_types").
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
