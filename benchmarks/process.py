"""Measurements in processes of their own: known cores, nothing compiled before, memory that is theirs alone."""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent


class MeasurementError(Exception):
    """A measurement that ended with an error; the message is the last line of what it said."""


def all_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def measure_apart(target: str, *, cores: list[int] | None = None, **arguments: Any) -> dict[str, Any]:
    """Call ``module:function`` of this package in a new process, and add what the process itself took.

    The function takes and returns what JSON can hold. Added are ``process_s`` (wall clock from start to end),
    ``peak_MB`` (largest memory in use) and ``cores`` (how many).
    """
    cores = cores or all_cores()
    # A cache of compiled kernels would hide what a first call takes.
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-m", "benchmarks.process", target, json.dumps(arguments)]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    wall = time.perf_counter() - start
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise MeasurementError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return {**json.loads(done.stdout.splitlines()[-1]), "process_s": wall, "cores": len(cores)}


def time_calls(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Best time of the calls after the first, and by how much the first took longer."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    best = min(_timed(call) for _ in range(repeats))
    return best, max(0.0, first - best)


def time_in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Best time of each, called in turns."""
    pairs = [(_timed(ours), _timed(theirs)) for _ in range(repeats)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _main() -> None:
    target, arguments = sys.argv[1], json.loads(sys.argv[2])
    module, function = target.split(":")
    found = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**arguments)
    peak_MB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**found, "peak_MB": peak_MB}))


if __name__ == "__main__":
    _main()
