"""Half maps of known local resolution in, the same resolution out."""

import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.geometry.grids import axis_coordinates
from helixlab.kernels.fourier import apply_shell_weights, low_pass, shell_correlation, shell_sums
from helixlab.kernels.masks import soft_step
from helixlab.kernels.nonuniform import cutoff_ladder, filter_nonuniform

PIXEL_A = 1.5
BOX = 64
LADDER = cutoff_ladder(PIXEL_A / 20.0)
STEP = float(LADDER[1] / LADDER[0])


def test_a_rigid_core_and_a_floppy_arm_are_told_apart() -> None:
    core, arm = _ball(-16.0), _ball(16.0)
    signal = core * _structure(4.0) + arm * _structure(12.0)
    half1, half2 = (signal + 0.15 * _noise(seed) for seed in (1, 2))
    *_, cutoff = filter_nonuniform(half1, half2, jnp.ones_like(signal), cutoffs_per_px=LADDER)
    found_A = PIXEL_A / np.asarray(cutoff)
    # The signal ends at one frequency and the filter's edge does not: a cut-off a fifth beyond it, at which nine tenths
    # of the amplitude are left, is paid for in noise only. The ladder's step comes to it.
    assert np.median(found_A[core > 0.99]) == pytest.approx(4.0, rel=0.2 * STEP)
    # 12 Å are 8 voxels, half the ball: a neighbourhood of this size knows little better where it is.
    assert np.median(found_A[arm > 0.99]) == pytest.approx(12.0, rel=0.3 * STEP)
    # Three standard deviations of the neighbourhood of 8 Å away from both balls nothing speaks for 8 Å: of the signal
    # weighs 10⁻³, of the noise, with a fiftieth of its power, 1.
    x, y, z = _coordinates()
    far = np.minimum(*(np.sqrt((x - at) ** 2 + y**2 + z**2) for at in (-16.0, 16.0))) > 12 + 2 + 3 * 8 / PIXEL_A
    assert far.mean() > 0.1
    assert found_A[far].min() > 8.0


def test_uneven_maps_come_nearer_to_the_truth_than_by_the_best_filter_for_all() -> None:
    core, arm = _ball(-16.0), _ball(16.0)
    signal = core * _structure(4.0) + arm * _structure(12.0)
    mask = jnp.maximum(core, arm)
    half1, half2 = (signal + 0.5 * _noise(seed) for seed in (7, 8))
    local = filter_nonuniform(half1, half2, mask, cutoffs_per_px=LADDER)[0]
    # Wiener's weights from the truth itself: no radial filter leaves less error in the half map.
    seen, true = (jnp.fft.rfftn(m * mask) for m in (half1, signal))
    weights = shell_sums((seen * true.conj()).real, mask.shape) / shell_sums(jnp.abs(seen) ** 2, mask.shape)
    everywhere = apply_shell_weights(half1 * mask, weights)
    error = [float(jnp.sum((mask * (made - signal)) ** 2)) for made in (local, everywhere)]
    # In the arm, half of the mask, the common filter keeps noise of the shells that the core needs.
    assert error[0] < 0.9 * error[1]


def test_nothing_but_noise_gets_the_lowest_cutoff() -> None:
    half1, half2 = _noise(3), _noise(4)
    *_, cutoff = filter_nonuniform(half1, half2, jnp.ones_like(half1), cutoffs_per_px=LADDER)
    # Chance reaches an FSC of 1/2 in 70 numbers at 4 standard deviations; neighbourhoods of the lowest cut-offs, 13
    # voxels wide, are few.
    assert np.mean(np.asarray(cutoff) > LADDER[0] * 1.01) < 0.02


def test_an_evenly_resolved_map_loses_no_resolution() -> None:
    signal = _structure(5.0)
    half1, half2 = (signal + 0.3 * _noise(seed) for seed in (5, 6))
    filtered, _, cutoff = filter_nonuniform(half1, half2, jnp.ones_like(signal), cutoffs_per_px=LADDER)
    chosen = float(np.median(np.asarray(cutoff)))
    assert PIXEL_A / chosen < 5.0 * STEP
    before, after = (_shells(half, signal) for half in (half1, filtered))
    kept = np.arange(1, int(0.8 * chosen * BOX))
    # A filter that is the same everywhere changes no FSC; where the choice differs by a step, a band of its power.
    assert (after[0][kept] > before[0][kept] - 0.01).all()
    # Butterworth: 1/√(1 + 0.8⁸) = 0.925 at four fifths of the cut-off.
    assert (after[1][kept] > 0.92 * before[1][kept]).all()


def test_it_brings_no_agreement_to_noise() -> None:
    """The choice is shared by the halves: what of it could an FSC see?"""
    correlation = []
    for seed in range(4):
        half1, half2 = _noise(10 + 2 * seed), _noise(11 + 2 * seed)
        first, second, _ = filter_nonuniform(half1, half2, _ball(0.0, 20.0), cutoffs_per_px=LADDER)
        correlation.append(_shells(first, second)[0][1:])
    # Where the halves agree by chance more is kept: allowed is what the chance of 4 seeds in a shell s, of 4πs²/2
    # independent numbers, makes of zero, and the FSC of the half maps at which resolution is read.
    mean = np.mean(correlation, axis=0)
    shells = np.arange(1, len(mean) + 1)
    assert (mean[3:] < 0.143).all()
    assert (mean < 4 / np.sqrt(4 * 2 * np.pi * shells**2) + 0.02).all()


def _structure(resolution_A: float) -> jnp.ndarray:
    """White up to a resolution, the same there for all."""
    white = np.random.default_rng(0).normal(size=3 * (BOX,))
    return low_pass(white, PIXEL_A / resolution_A, edge_per_px=0.01)


def _noise(seed: int) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(100 + seed).normal(size=3 * (BOX,)), jnp.float32)


def _coordinates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z, y, x = np.meshgrid(*3 * (axis_coordinates(BOX),), indexing="ij")
    return x, y, z


def _ball(centre_x: float, radius: float = 12.0) -> jnp.ndarray:
    x, y, z = _coordinates()
    return soft_step(np.sqrt((x - centre_x) ** 2 + y**2 + z**2) - radius, 4.0)


def _shells(map1: jnp.ndarray, map2: jnp.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FSC and the root of the ratio of powers."""
    # Scaled alike: the sums are of maps with their own largest value set to 1.
    scale = float(jnp.max(jnp.abs(map1 - map1.mean())) / jnp.max(jnp.abs(map2 - map2.mean())))
    cross, first, second = (np.asarray(v) for v in shell_correlation(map1, map2, jnp.ones_like(map1)))
    return cross / np.sqrt(first * second + 1e-30), scale * np.sqrt(first / (second + 1e-30))
