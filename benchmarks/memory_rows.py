"""What a refinement takes of memory: an iteration on a stack four times as large as the address space left to it.

Rows of the table name images of a small stack again and again. Each is read, transformed, kept and aligned as often, so
that the table is as large as it says while the disk is not.
"""

import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process import measure_apart
from benchmarks.report import Row, seconds
from helixlab.geometry import HelicalSymmetry
from helixlab.io import read_particles
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.begin import init
from helixlab.reconstruct.prepare import prepare_particles
from helixlab.reconstruct.step import step
from helixlab.simulate import ParticleSettings, simulate_particles

_SYMMETRY = HelicalSymmetry(-101.1, 5.13)
_BOX_PX = 64
_TIMES = 4
"""The stack by the limit."""


def rows(folder: Path, *, quick: bool) -> list[Row]:
    got = measure_apart("memory_rows:measure_limited", folder=str(folder / "memory"), limit_MB=64 if quick else 128)
    return [
        Row(
            work=f"prepare {got['n_images']} images of box {_BOX_PX} ({got['stack_MB']:.0f} MB) and refine them once",
            target=f"no more than {got['limit_MB']} MB beside what is there when all is compiled",
            # What would have needed more has failed.
            measured=f"done in {seconds(got['prepare_s'])} and {seconds(got['step_s'])}; largest memory in use grew by "
            f"{got['grown_MB']:.0f} MB",
            is_met=True,
            run_s=got["prepare_s"] + got["step_s"],
            cores=got["cores"],
            peak_MB=got["peak_MB"],
            details=got,
        )
    ]


def measure_limited(folder: str, limit_MB: int) -> dict[str, Any]:
    """One iteration at low resolution on few images, then, with the address space limited, on many."""
    few = ParticleSettings(n_filaments=12, segments_per_filament=20, box_px=_BOX_PX, pixel_size_A=4.0)
    stack = read_particles(simulate_particles("builtin", _SYMMETRY, folder, few).files["star"])
    # Batches as they are in so little memory, but of one size before and after it is limited: compiling takes more.
    settings = RefinementSettings(twist_deg=_SYMMETRY.twist_deg, rise_A=_SYMMETRY.rise_A, batch_size=32)

    def work(n_images: int) -> tuple[float, float]:
        start = time.perf_counter()
        particles = prepare_particles(stack.select(np.arange(n_images) % len(stack)), settings)
        ready = time.perf_counter()
        step(particles, replace(init(particles, settings), align_shell=8), settings)
        return ready - start, time.perf_counter() - ready

    work(512)
    before_MB = _largest_MB()
    limit_bytes = _address_space_bytes() + limit_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    n_images = int(_TIMES * limit_MB * 2**20 / (4 * _BOX_PX**2)) + 1
    prepare_s, step_s = work(n_images)
    return {
        "n_images": n_images,
        "stack_MB": 4 * _BOX_PX**2 * n_images / 2**20,
        "limit_MB": limit_MB,
        "grown_MB": _largest_MB() - before_MB,
        "prepare_s": prepare_s,
        "step_s": step_s,
    }


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _largest_MB() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
