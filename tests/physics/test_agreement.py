"""The FSC between half maps claims what the truth allows: also in a mask, symmetrised, and with shared references."""

import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.fourier import apply_shell_weights, shell_correlation, shell_freqs_per_A
from helixlab.kernels.masks import cylindrical_mask
from helixlab.reconstruct.agreement import Agreement, half_map_agreement, smoothed_fsc
from helixlab.reconstruct.maximisation import CENTRAL_FRACTION, symmetrised_in_real_space
from helixlab.validate.fsc import FSCCurve, fsc_values

BOX, PIXEL_A, RADIUS_A = 64, 3.0, 40.0
HELIX = HelicalSymmetry(-27.3, 19.0)
SHAPE = 3 * (BOX,)
FREQ_PER_A = shell_freqs_per_A(SHAPE, PIXEL_A)
MASK = np.asarray(cylindrical_mask(SHAPE, (RADIUS_A + 6.0) / PIXEL_A, z_fraction=0.7, edge_px=4.0))


@pytest.mark.parametrize("is_symmetrised", [False, True])
def test_noise_agrees_nowhere_but_where_it_is_shared(is_symmetrised: bool) -> None:
    join_A = 20.0
    curves, reached_per_A = [], []
    for seed in range(6):
        shared, one, two = (_noise(1000 + 3 * seed + i) for i in range(3))
        # As references that are joined up to here make of images of noise: the same in both halves.
        below = np.where(1 / join_A < FREQ_PER_A, 0, 1).astype(np.float32)
        halves = [_filtered(shared, 10 * below) + _filtered(own, 1 - below) for own in (one, two)]
        if is_symmetrised:
            halves = [_symmetrised(half) for half in halves]
        agreement = _agreement(halves, seed, shared_res_A=join_A)
        curves.append(agreement.curve.fsc)
        reached_per_A.append(1 / agreement.resolution_A)
    # The mask couples neighbouring shells; symmetrisation reads the central part of the box, and what is as short
    # spreads by one over its length.
    spread_per_A = FREQ_PER_A[1] * (1 + (1 / CENTRAL_FRACTION if is_symmetrised else 0))
    is_beyond = 1 / join_A + spread_per_A < FREQ_PER_A
    assert np.mean(curves, axis=0)[is_beyond].max() < 0.143
    assert np.mean(reached_per_A) < 1 / join_A + spread_per_A + FREQ_PER_A[1]


@pytest.mark.parametrize("is_symmetrised", [False, True])
@pytest.mark.parametrize("edge_shells", [0.5, 2.0])
def test_the_resolution_is_that_of_the_truth(is_symmetrised: bool, edge_shells: float) -> None:
    shells = np.arange(len(FREQ_PER_A))
    # Power of signal over noise in each half map: a step, and a slope.
    ratio = 8.0 / (1 + np.exp((shells - 18) / edge_shells))
    claimed = []
    for seed in range(6):
        signal = _symmetrised(_noise(10 * seed))
        noise = [_filtered(_noise(10 * seed + i), 1 / np.sqrt(np.maximum(ratio, 1e-3))) for i in (1, 2)]
        if is_symmetrised:
            noise = [_symmetrised(each) for each in noise]
        else:
            noise = [signal[MASK > 0].std() * each for each in noise]
        one, two = (signal + each for each in noise)
        agreement = _agreement([one, two], seed)
        cross = shell_correlation(jnp.asarray((one + two) / 2), jnp.asarray(signal), jnp.asarray(MASK))
        truth = FSCCurve(FREQ_PER_A, smoothed_fsc(fsc_values(*cross)[0]), "truth")
        claimed.append(truth.resolution_A(0.5) / agreement.resolution_A)
    # FSC = 1/7 between halves is 1/2 against the truth. A shell at the resolution is 6% of it.
    assert np.mean(claimed) == pytest.approx(1.0, abs=0.1)
    # Symmetrised noise has few independent numbers, which agree by chance a few shells further.
    assert max(claimed) < (1.2 if is_symmetrised else 1.1)


def test_poses_that_agree_nowhere_reach_nowhere() -> None:
    # 0.1 by chance at a high frequency is no peak that the FSC falls from.
    fsc = np.where(np.arange(len(FREQ_PER_A)) == 25, 0.1, 0.02)
    chance = FSCCurve(FREQ_PER_A, fsc, "without round part")
    assert Agreement(chance, chance, chance, chance).poses_agree_A == np.inf


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def _filtered(map_: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(apply_shell_weights(map_, weights))


def _symmetrised(map_: np.ndarray) -> np.ndarray:
    return symmetrised_in_real_space(Volume(map_, PIXEL_A), HELIX, RADIUS_A).data


def _agreement(halves: list[np.ndarray], seed: int, shared_res_A: float | None = None) -> Agreement:
    one, two = (Volume(half.astype(np.float32), PIXEL_A) for half in halves)
    return half_map_agreement(one, two, MASK, cyclic_order=1, is_corrected=True, seed=seed, shared_res_A=shared_res_A)
