"""The search over the grid: which poses it covers, and that its peaks are those of the scores."""

import itertools
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.kernels.bands import flip_bands, frequency_band
from helixlab.kernels.ctf import CtfParameters, ctf_coefficients
from helixlab.kernels.likelihood import score_grid
from helixlab.kernels.project import pose_matrices, reference_transform, slices
from helixlab.reconstruct.band_store import MemoryBands
from helixlab.reconstruct.grid_search import SearchRange, search_grid
from helixlab.reconstruct.prepare import PreparedParticles

BOX, SHELL, PIXEL_A = 16, 5, 4.0
RANGES = SearchRange(20.0, 40.0, 1, 3.0, 4.0, 4.0, 6.0)
N = 7


@pytest.fixture(scope="module")
def particles() -> PreparedParticles:
    rng, band = np.random.default_rng(1), frequency_band(BOX, SHELL)
    ctf = ctf_coefficients(
        CtfParameters.of(
            defocus_u_A=np.full(N, 12000.0),
            defocus_v_A=np.full(N, 12000.0),
            defocus_angle_deg=np.zeros(N),
            voltage_kV=300.0,
            cs_mm=2.7,
            amplitude_contrast=0.1,
        ),
        step_per_A=1.0 / (BOX * PIXEL_A),
    )
    x = rng.normal(size=(N, 2, len(band.k))).astype(np.float32)
    number = np.zeros(N, np.int64)
    return PreparedParticles(MemoryBands(x), ctf, band, number + 1, number, number, np.zeros(N), PIXEL_A, None)


@pytest.mark.parametrize("resolution_A", [8.0, 13.0, 200.0])
@pytest.mark.parametrize("order", [1, 6])
def test_cells_fill_the_range_and_are_small_enough(resolution_A: float, order: int) -> None:
    ranges = SearchRange(50.0, 300.0, order, 0.0, 10.0, 5.0, 3.0)
    grid = ranges.orientations(resolution_A)
    angles, steps = grid.angles_deg(), np.array(grid.steps_deg)
    assert len(angles) == np.prod(grid.shape)
    assert angles.min(axis=0) - steps / 2 == pytest.approx([0.0, 75.0, -9.0])
    assert angles.max(axis=0) + steps / 2 == pytest.approx([360.0 / order, 105.0, 9.0])
    # Half of the resolution at the surface, and at the ends of the filament; one cell is the least there can be.
    moved_A = np.deg2rad(steps) * np.array([50.0, 50.0, 150.0])
    assert np.all((moved_A <= resolution_A / 2 + 1e-9) | (np.array(grid.shape) == 1))
    # No shift along: one cell, in the middle.
    shifts_A = ranges.shifts_px(resolution_A, 2.0) * 2.0
    width_A = 20.0 / len(shifts_A)
    assert width_A <= resolution_A / 3 or len(shifts_A) == 1
    assert np.allclose(shifts_A, [(0.0, (n + 0.5) * width_A - 10.0) for n in range(len(shifts_A))])


def test_peaks_are_the_highest_among_their_neighbours(particles: PreparedParticles) -> None:
    volume = np.random.default_rng(2).normal(size=3 * (BOX,)).astype(np.float32) / BOX
    transform, noise = reference_transform(jnp.asarray(volume), r_max=SHELL), np.ones((1, SHELL + 1))
    rows = np.array([0, 2, 3, 6])
    found = search_grid(particles, rows, transform, noise, RANGES, shell=SHELL)
    grid = RANGES.orientations(particles.resolution_A(SHELL))
    assert min(grid.shape) >= 2
    angles, shifts = grid.angles_deg(), RANGES.shifts_px(particles.resolution_A(SHELL), PIXEL_A)
    _, precision = RANGES.prior(PIXEL_A)
    x, ctf, band = particles.whitened(rows, noise, SHELL)
    scored = partial(
        score_grid,
        ctf=ctf,
        references=slices(transform, pose_matrices(*angles.T), band.k),
        shifts_px=jnp.asarray(shifts, jnp.float32),
        band=band,
        log_prior=jnp.asarray(RANGES.log_prior(angles), jnp.float32),
        log_prior_shift=jnp.asarray(-0.5 * np.sum(precision[3:] * shifts**2, axis=1), jnp.float32),
    )
    scores, turned = scored(x), scored(flip_bands(x))
    # A turned image is the image at the opposite shifts: of these shifts and priors, at the same ones. Float32 sums of
    # some 40 products, below 100 in size.
    assert np.allclose(turned[:, ::-1], scores, atol=1e-3)
    for flip in (0, 1):
        for number, score in enumerate(scores[:, flip]):
            wanted = _peaks(score.reshape(grid.shape))[:4]
            heights = found.score[number, flip]
            assert heights[: len(wanted)] == pytest.approx(
                [score.reshape(grid.shape)[cell] for cell in wanted], abs=1e-3
            )
            assert np.all(heights[len(wanted) :] == -np.inf)
            cells = [np.ravel_multi_index(cell, grid.shape) for cell in wanted]
            assert np.allclose(found.pose[number, flip, : len(wanted), :3], angles[cells], atol=1e-4)


def _peaks(score: np.ndarray) -> list[tuple[int, ...]]:
    """Cells that score more than their neighbours, best first; the first angle goes round."""
    found = []
    for cell in np.ndindex(score.shape):
        around = [np.add(cell, step) for step in itertools.product((-1, 0, 1), repeat=3)]
        inside = [
            (a % score.shape[0], b, c)
            for a, b, c in around
            if b in range(score.shape[1]) and c in range(score.shape[2])
        ]
        if score[cell] >= max(score[other] for other in inside):
            found.append(cell)
    return sorted(found, key=lambda cell: -score[cell])
