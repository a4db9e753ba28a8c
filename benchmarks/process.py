"""Measurements in processes of their own: known cores, nothing compiled before, memory that is theirs alone."""

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    command = [sys.executable, "-m", "benchmarks.process", target, json.dumps(arguments)]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=_ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    wall = time.perf_counter() - start
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise MeasurementError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return {**json.loads(done.stdout.splitlines()[-1]), "process_s": wall, "cores": len(cores)}


class Ran(NamedTuple):
    """What a command printed, and what it took."""

    stdout: str
    wall_s: float
    cpu_s: float
    peak_MB: float


def run_command(command: Sequence[str], *, cores: list[int], environment: Mapping[str, str]) -> Ran:
    """Run a program to its end on these cores, with these variables in place of the environment's.

    As in :func:`measure_apart` a shell's cache of compiled kernels is left aside.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**_environment(), **environment},
            stdout=out,
            stderr=err,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        # Unlike Popen.wait it tells what this one process took.
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            said = err.read()
            sys.stderr.write(said)
            raise MeasurementError((said.strip().splitlines() or [f"exit status {process.returncode}"])[-1])
        return Ran(out.read(), wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


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


def _environment() -> dict[str, str]:
    """This process's, without the cache of compiled kernels that would hide what a first call takes."""
    return {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}


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
