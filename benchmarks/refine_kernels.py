"""The kernels of refinement: projecting, inserting, averaging, reconstructing, scoring and refining poses.

Box 128 as RELION's programs are measured on it (1000 projections; 2000 images reconstructed), box 96 with 600 images
for one expectation. Images are projections of a simulated helix with white noise.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.process import measure_apart, time_calls
from benchmarks.report import Row, seconds
from helixlab.geometry import HelicalSymmetry
from helixlab.kernels.backproject import average_operators, backproject, empty_accumulator, with_mates
from helixlab.kernels.bands import frequency_band, largest_radius, shift_bands
from helixlab.kernels.fourier import low_pass
from helixlab.kernels.likelihood import score_grid
from helixlab.kernels.project import pose_matrices, project_volume, reference_transform, slices
from helixlab.kernels.reconstruct import reconstruct_volume
from helixlab.kernels.refine_poses import refine_poses
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.simulate import simulate_helix

_SYMMETRY = HelicalSymmetry(-101.1, 5.13)
_RANGES = SearchRange(42.0, 207.0, 1, 2.6, 10.0, 5.0, 3.3)
_SIGNAL = 150.0
"""Σ|C·P|² of an image: what segments of 96 pixels with a signal-to-noise ratio of 0.05 have."""


def rows(folder: Path, *, quick: bool) -> list[Row]:
    repeats = 2 if quick else 5
    maps = measure_apart("refine_kernels:measure_maps", repeats=repeats, scale=5 if quick else 1)
    expectation = measure_apart("refine_kernels:measure_expectation", repeats=repeats, n=100 if quick else 600)
    found = [
        _row(name, target, maps, key)
        for name, target, key in (
            ("project {projected} images, box 128", "5× relion_project", "project"),
            ("insert {inserted} images, box 128", "", "insert"),
            ("average 31 helical copies of the sum, box 128", "", "average"),
            ("reconstruct from the sum, box 128", "with both above: 5× relion_reconstruct", "reconstruct"),
        )
    ]
    found += [
        _row("scores of a coarse grid, {n} images of box 96, both polarities", "", expectation, "grid"),
        _row("refine {n} poses of box 96", "", expectation, "refine"),
    ]
    part = expectation["grid_gflops"] / expectation["dot_gflops"]
    found.append(
        Row(
            work="scores of a grid: part of the rate of a matrix product",
            target="≥ 40%",
            measured=f"{100 * part:.0f}% of {expectation['dot_gflops']:.0f} GFLOP/s",
            is_met=part >= 0.4,
            details=expectation,
        )
    )
    return found


def measure_maps(repeats: int, scale: int) -> dict[str, Any]:
    """Projection and reconstruction at box 128, divided by ``scale`` in the number of images."""
    box, pixel_A, r_max, rng = 128, 2.0, largest_radius(128), np.random.default_rng(0)
    volume = simulate_helix("builtin", _SYMMETRY, box=box, pixel_size_A=pixel_A, resolution_A=6.0).volume
    counts = {"projected": 1000 // scale, "inserted": 2000 // scale}
    angles = _angles(counts["inserted"], rng)
    few = angles[:, : counts["projected"]]
    band = frequency_band(box, r_max, r_min=0)
    poses = pose_matrices(*angles)
    x = jnp.asarray(rng.normal(size=(counts["inserted"], 2, len(band.k))), jnp.float32)
    ctf = jnp.ones((counts["inserted"], len(band.k)))
    total = with_mates(backproject(empty_accumulator(r_max), x, ctf, poses, band))
    calls: dict[str, Callable[[], Any]] = {
        "project": lambda: project_volume(volume, *few),
        "insert": lambda: backproject(empty_accumulator(r_max), x, ctf, poses, band),
        "average": lambda: average_operators(total, _SYMMETRY, n_steps=15, box_A=box * pixel_A),
        "reconstruct": lambda: reconstruct_volume(total, box=box),
    }
    return counts | _timed(calls, repeats)


def measure_expectation(repeats: int, n: int) -> dict[str, Any]:
    """One expectation at box 96: the grid to 12 Å and last steps; and the rate of the matrix product."""
    box, r_max, rng = 96, 45, np.random.default_rng(1)
    reference, band = reference_transform(jnp.asarray(_random_helix(box, 2.7)), r_max=r_max), frequency_band(box, r_max)
    angles = _angles(n, rng)
    model = slices(reference, pose_matrices(*angles), band.k)
    # As at 1 µm of defocus: what all orientations have in common at the lowest frequencies is hardly seen.
    ctf = jnp.asarray(np.tile(np.sin(0.01 * np.asarray(band.shell) ** 2 + 0.1), (n, 1)), jnp.float32)
    model = ctf[:, None] * model
    scale = np.sqrt(_SIGNAL / np.mean(np.sum(np.asarray(model) ** 2, axis=(1, 2))))
    shift = rng.normal(size=(n, 2)).astype(np.float32)
    x = shift_bands(scale * model, -shift, band) + jnp.asarray(
        rng.normal(scale=np.sqrt(0.5), size=model.shape), jnp.float32
    )
    reference = scale * reference
    coarse = frequency_band(box, 22)
    grid = _RANGES.orientations(12.0).angles_deg()
    views = slices(reference, pose_matrices(*grid.T), coarse.k)
    narrow, narrow_ctf = x[..., : len(coarse.k)], ctf[:, : len(coarse.k)]
    moves = jnp.asarray(_RANGES.shifts_px(12.0, 2.7), jnp.float32)
    start = np.concatenate([angles, shift.T]).T + rng.normal(size=(n, 5)) * np.array([1.0, 1.0, 0.5, 0.3, 0.3])
    square = jnp.asarray(rng.normal(size=(2048, 2048)), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    calls: dict[str, Callable[[], Any]] = {
        "dot": lambda: product(square),
        "grid": lambda: score_grid(narrow, narrow_ctf, views, moves, coarse),
        "refine": lambda: refine_poses(reference, x, ctf, start, band),
    }
    found = _timed(calls, repeats)
    flops = 4.0 * n * len(moves) * len(grid) * len(coarse.k)
    return found | {
        "n": n,
        "dot_gflops": 2e-9 * 2048**3 / found["dot_s"],
        "grid_gflops": 1e-9 * flops / found["grid_s"],
    }


def _angles(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.uniform(0, 360, n), rng.normal(90, 2, n), rng.normal(0, 2, n)])


def _random_helix(box: int, pixel_A: float) -> np.ndarray:
    """Subunits of 100 atoms at random, 10 to 42 Å from the axis, as far as the box is high less its edges.

    Unlike the compact built-in subunits it has strong layer lines at low resolution, as real filaments do.
    """
    rng = np.random.default_rng(2)
    radius, phi, z = (np.sqrt(rng.uniform(100, 1764, 100)), rng.uniform(0, 2 * np.pi, 100), rng.uniform(0, 30, 100))
    steps = np.arange(-30, 31)[:, None]
    angle = phi + np.deg2rad(_SYMMETRY.twist_deg) * steps
    centres = np.stack([z + _SYMMETRY.rise_A * steps, radius * np.sin(angle), radius * np.cos(angle)], axis=-1)
    places = np.rint(centres.reshape(-1, 3) / pixel_A).astype(int) + box // 2
    places = places[np.abs(places[:, 0] - box // 2) < 0.42 * box]
    points = np.zeros((box, box, box), np.float32)
    np.add.at(points, tuple(places.T), 1.0)
    return np.asarray(low_pass(points, pixel_A / 6.0, edge_per_px=0.1))


def _timed(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, call in calls.items():
        found[f"{name}_s"], found[f"{name}_compile_s"] = time_calls(lambda c=call: jax.block_until_ready(c()), repeats)
        start = time.process_time()
        jax.block_until_ready(call())
        found[f"{name}_cpu_s"] = time.process_time() - start
    return found


def _row(work: str, target: str, got: dict[str, Any], key: str) -> Row:
    return Row(
        work=work.format(**got),
        target=target,
        measured=f"{seconds(got[key + '_s'])}, {seconds(got[key + '_cpu_s'])} of all cores",
        run_s=got[key + "_s"],
        compile_s=got[key + "_compile_s"],
        cores=got["cores"],
        peak_MB=got["peak_MB"],
        details=got,
    )
