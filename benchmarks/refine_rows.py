"""The refinement from particles to map: whole runs against their truth, and how an iteration grows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import truth_rows
from benchmarks.process import measure_apart
from benchmarks.report import Row, seconds
from helixlab.geometry import HelicalSymmetry
from helixlab.io import read_particles
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.begin import init
from helixlab.reconstruct.prepare import prepare_particles
from helixlab.reconstruct.step import step
from helixlab.simulate import OpticsSettings, ParticleSettings, simulate_particles

_TRUTH = HelicalSymmetry(-101.1, 5.13)

_FIELD_A = 256.0
"""Edge of the boxes of all sizes: pixels of 4, 2 and 1 Å."""


def rows(folder: Path, *, quick: bool) -> list[Row]:
    if quick:
        return _quick_rows(folder)
    found = truth_rows.rows(folder)
    for box_px, counts in ((64, (100, 500, 1000, 2000, 4000)), (128, (100,)), (256, (100,))):
        got = measure_apart(
            "refine_rows:measure_iterations", folder=str(folder / f"box{box_px}"), box_px=box_px, counts=counts
        )
        found += [_iteration_row(one, got) for one in got["iterations"]]
    return found


def _quick_rows(folder: Path) -> list[Row]:
    """A small set of our own simulation."""
    made = measure_apart("refine_rows:make_small", folder=str(folder / "small"))
    start = HelicalSymmetry(-100.7, 5.16)
    cold, warm = truth_rows.refine_twice(Path(made["star"]), folder / "small-runs", start)
    what = f"{made['n_segments']} segments, box {made['box_px']}"
    polarity = truth_rows.polarity_row(what, cold, Path(made["truth_star"]), least=0.99)
    return [truth_rows.time_row(what, cold, warm), polarity]


def make_small(folder: str) -> dict[str, Any]:
    """Segments that are seen well."""
    settings = ParticleSettings(
        n_filaments=15, segments_per_filament=20, box_px=64, pixel_size_A=3.0, optics=(OpticsSettings(snr=0.1),)
    )
    files = simulate_particles("builtin", _TRUTH, folder, settings).files
    return {
        "star": str(files["star"]),
        "truth_star": str(files["truth_star"]),
        "n_segments": settings.n_segments,
        "box_px": settings.box_px,
    }


def _iteration_row(one: dict[str, Any], got: dict[str, Any]) -> Row:
    phases = ", ".join(f"{name} {seconds(value)}" for name, value in one["phases"].items())
    return Row(
        work=f"one iteration of {one['n_images']} segments, box {got['box_px']}, aligned to shell {one['shell']}",
        target="—",
        measured=phases,
        run_s=one["run_s"],
        compile_s=one["compile_s"],
        cores=got["cores"],
        # Of all counts together: the largest count's.
        peak_MB=got["peak_MB"] if one is got["iterations"][-1] else None,
        details=one,
    )


def measure_iterations(folder: str, box_px: int, counts: list[int]) -> dict[str, Any]:
    """An iteration aligned to about 0.7 of the Nyquist frequency, with a search of twist and rise, by its phases."""
    pixel_A = _FIELD_A / box_px
    many = ParticleSettings(
        n_filaments=-(-max(counts) // 20), segments_per_filament=20, box_px=box_px, pixel_size_A=pixel_A
    )
    made = simulate_particles("builtin", _TRUTH, folder, many)
    stack = read_particles(made.files["star"])
    settings = RefinementSettings(
        twist_deg=_TRUTH.twist_deg,
        rise_A=_TRUTH.rise_A,
        initial_lowpass_res_A=4 * pixel_A,
        realspace_symmetrize_res_A=30,
    )
    found = []
    for count in counts:
        particles = prepare_particles(stack.select(np.arange(count)), settings)
        # As if the last iteration had reached a resolution at which everything is at work.
        state = replace(init(particles, settings, volume=made.reference), resolution_A=4.0)
        first, again = (step(particles, state, settings)[1].seconds for _ in range(2))
        found.append(
            {
                "n_images": count,
                "shell": state.align_shell,
                "phases": again,
                "run_s": sum(again.values()),
                "compile_s": max(0.0, sum(first.values()) - sum(again.values())),
            }
        )
    return {"box_px": box_px, "iterations": found}
