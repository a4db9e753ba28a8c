"""Held-out scores: what is marginalised, which half meets which map, errors over filaments; and what verdicts say."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.bands import flip_bands, frequency_band, shift_phases
from helixlab.kernels.ctf import CtfParameters, ctf_coefficients
from helixlab.kernels.project import pose_matrices, reference_transform, slices
from helixlab.reconstruct.band_store import MemoryBands
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.reconstruct.held_out import HeldOutScores, Mean, held_out_scores
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.reconstruct.verdicts import ScoredMaps, compare_scores

BOX, SHELL = 16, 5
RANGES = SearchRange(20.0, 40.0, 1, 3.0, 4.0, 4.0, 3.0)
NOISE = np.linspace(0.5, 1.5, SHELL + 1)[None]
FILAMENT = np.array([0, 0, 1, 1, 2, 2])


@pytest.fixture(scope="module")
def particles() -> PreparedParticles:
    rng = np.random.default_rng(1)
    band = frequency_band(BOX, SHELL)
    x = rng.normal(size=(6, 2, len(band.k))).astype(np.float32)
    ctf = ctf_coefficients(
        CtfParameters.of(
            defocus_u_A=np.full(6, 12000.0),
            defocus_v_A=np.full(6, 11000.0),
            defocus_angle_deg=np.linspace(0.0, 90.0, 6),
            voltage_kV=300.0,
            cs_mm=2.7,
            amplitude_contrast=0.1,
        ),
        step_per_A=1.0 / (BOX * 4.0),
    )
    half_set = np.array([1, 1, 2, 2, 1, 1])
    return PreparedParticles(
        MemoryBands(x), ctf, band, half_set, FILAMENT, np.zeros(6, np.int64), np.zeros(6), 4.0, 20.0
    )


@pytest.fixture(scope="module")
def reference() -> Volume:
    return Volume(np.random.default_rng(2).normal(size=3 * (BOX,)).astype(np.float32) / BOX, 4.0)


def test_scores_are_the_marginal_likelihood(particles: PreparedParticles, reference: Volume) -> None:
    found = held_out_scores(particles, (reference, reference), NOISE, RANGES, shell=SHELL).log_likelihood
    # Float32 sums of 40 frequencies, scores below 100: some 1e-6 of them.
    assert found == pytest.approx(_slow_marginal(particles, reference), abs=1e-3)


def test_a_mirrored_map_scores_the_same(particles: PreparedParticles, reference: Volume) -> None:
    # Mirrored across its axis, a map looks at rot + 180° and with the other polarity as it did before.
    data = reference.data.copy()
    data[0] = 0  # of an even box the first layer has no counterpart
    maps = (reference.with_data(d) for d in (data, np.roll(data[::-1], 1, axis=0), np.roll(data, 1, axis=0)))
    one, mirrored, other = (held_out_scores(particles, (m, m), NOISE, RANGES, shell=SHELL).log_likelihood for m in maps)
    assert mirrored == pytest.approx(one, abs=1e-3)
    assert other != pytest.approx(one, abs=1e-2)


def test_an_empty_map_scores_nothing(particles: PreparedParticles, reference: Volume) -> None:
    empty = reference.with_data(np.zeros_like(reference.data))
    found = held_out_scores(particles, (empty, empty), NOISE, RANGES, shell=SHELL)
    # A probability sums to one: in float32, a log of a sum of some hundred priors.
    assert np.abs(found.log_likelihood).max() < 1e-5


def test_segments_meet_the_map_of_the_other_half(particles: PreparedParticles, reference: Volume) -> None:
    empty = reference.with_data(np.zeros_like(reference.data))
    both = held_out_scores(particles, (reference, reference), NOISE, RANGES, shell=SHELL).log_likelihood
    found = held_out_scores(particles, (reference, empty), NOISE, RANGES, shell=SHELL).log_likelihood
    is_second = particles.half_set == 2
    assert np.array_equal(found[is_second], both[is_second])
    assert np.abs(found[~is_second]).max() < 1e-5
    assert np.abs(both).min() > 0.01


def test_noise_alone_scores_below_nothing(particles: PreparedParticles, reference: Volume) -> None:
    # Jensen: over noise the mean of exp(score) is 1 on any map, and so that of scores is below 0.
    rng = np.random.default_rng(4)
    count, width = 500, len(particles.band.k)
    x = rng.normal(scale=np.sqrt(0.5), size=(count, 2, width)).astype(np.float32)
    many = replace(
        particles,
        x=MemoryBands(x),
        ctf=type(particles.ctf)(*(np.repeat(np.asarray(c)[:1], count, axis=0) for c in particles.ctf)),
        half_set=np.arange(count) % 2 + 1,
        filament=np.arange(count) // 5,
        optics_group=np.zeros(count, np.int64),
        psi_prior_deg=np.zeros(count),
    )
    white = np.ones((1, SHELL + 1))
    strong = reference.with_data(3 * reference.data)
    found = held_out_scores(many, (strong, strong), white, RANGES, shell=SHELL).mean
    assert found.value < -3 * found.se
    # The images' own power is a bound on their noise, and for noise alone the noise itself: white images here, to which
    # no mask was applied. A shell of 10 frequencies holds 10,000 squares: 1 ± 1.4%.
    power = image_power(replace(many, mask_power=1.0))[:, 1 : SHELL + 1]
    assert np.abs(power - 1.0).max() < 0.05


def test_standard_errors_are_those_of_filaments() -> None:
    # Each segment ten times over: ten times as many segments, and no more is known.
    rng = np.random.default_rng(3)
    values, filament = rng.normal(size=30), np.arange(30) // 3
    once = Mean.over_filaments(values, filament)
    tenfold = Mean.over_filaments(np.repeat(values, 10), np.repeat(filament, 10))
    assert (tenfold.value, tenfold.se) == pytest.approx((once.value, once.se))
    # Filaments of one size: the standard error of their means.
    means = values.reshape(10, 3).mean(axis=1)
    assert once.se == pytest.approx(means.std(ddof=1) / np.sqrt(10))


def test_one_filament_proves_nothing() -> None:
    assert Mean.over_filaments(np.ones(3), np.zeros(3, int)).se == np.inf


def test_scores_of_other_segments_are_refused() -> None:
    one = HeldOutScores(np.zeros(6), FILAMENT)
    with pytest.raises(HelixLabError, match="same segments"):
        one.less(HeldOutScores(np.zeros(5), FILAMENT[:5]))


# --- verdicts -----------------------------------------------------------------------------------

TRUTH = HelicalSymmetry(-101.1, 5.13)


def scored(symmetry: HelicalSymmetry | None, height: float, *, seed: int = 0, kind: str = "helical") -> ScoredMaps:
    """Segments of 20 filaments about a height, with a standard error of 0.1 of their mean."""
    values = np.random.default_rng(seed).normal(size=100)
    values -= values.mean()
    values *= 0.1 / Mean.over_filaments(values, np.arange(100) // 5).se
    return ScoredMaps(kind, symmetry, HeldOutScores(height + values, np.arange(100) // 5))  # type: ignore[arg-type]


def controls(asymmetric: float = 5.0, round_: float = 1.0) -> list[ScoredMaps]:
    return [scored(None, asymmetric, seed=8, kind="asymmetric"), scored(None, round_, seed=9, kind="round")]


def verdicts(*maps: ScoredMaps) -> dict[HelicalSymmetry | str | None, str]:
    return {row.maps.symmetry or row.maps.kind: row.verdict for row in compare_scores([*maps, *controls()]).rows}


def test_a_multiple_is_not_preferred() -> None:
    multiple = TRUTH.multiple(3)
    # Higher by two paired standard errors of 0.14.
    found = verdicts(scored(multiple, 10.28, seed=1), scored(TRUTH, 10.0, seed=2))
    assert (found[TRUTH], found[multiple]) == ("best", "multiple")


def test_a_multiple_that_scores_surely_more_is_no_multiple_of_a_truth() -> None:
    multiple = TRUTH.multiple(2)
    found = verdicts(scored(multiple, 11.0, seed=1), scored(TRUTH, 10.0, seed=2))
    assert (found[TRUTH], found[multiple]) == ("worse", "best")


def test_every_mth_subunit_of_the_mirror_image_is_a_multiple() -> None:
    found = verdicts(scored(TRUTH, 10.0, seed=1), scored(TRUTH.mirrored().multiple(2), 9.9, seed=2))
    assert found[TRUTH.mirrored().multiple(2)] == "multiple"


def test_a_ring_without_its_point_group_is_a_multiple() -> None:
    ring = HelicalSymmetry(29.4, 21.8, "C6")
    found = compare_scores([scored(ring, 10.0, seed=1), scored(HelicalSymmetry(29.4, 21.8, "C2"), 10.1, seed=2)])
    assert found.best == ring
    assert "one in 3" in found.rows[1].reason


def test_of_both_hands_the_first_is_named_and_the_other_reported() -> None:
    mirror = TRUTH.mirrored()
    found = compare_scores([scored(TRUTH, 10.0, seed=1), scored(mirror, 10.1, seed=2), *controls()])
    assert found.best == TRUTH
    assert found.rows[1].verdict == "mirror"
    assert "cannot tell the hand" in found.rows[1].reason


def test_the_same_operators_written_otherwise_are_the_same() -> None:
    found = verdicts(scored(TRUTH, 10.0, seed=1), scored(HelicalSymmetry(258.899, 5.13), 10.0, seed=2))
    assert found[HelicalSymmetry(258.899, 5.13)] == "same"


@pytest.mark.parametrize(("n_se", "verdict"), [(2.9, "undecided"), (3.1, "worse")])
def test_three_paired_standard_errors_decide(n_se: float, verdict: str) -> None:
    near = HelicalSymmetry(-101.1, 5.28)
    se = scored(TRUTH, 10.0, seed=1).scores.less(scored(near, 10.0, seed=2).scores).se
    found = compare_scores([scored(TRUTH, 10.0, seed=1), scored(near, 10.0 - n_se * se, seed=2), *controls()])
    assert found.rows[1].verdict == verdict
    assert found.is_decided == (verdict == "worse")
    assert found.rows[0].verdict == ("best" if found.is_decided else "undecided")


@pytest.mark.parametrize(
    ("asymmetric", "round_", "says"),
    [
        (5.0, 9.9, "featureless"),
        (5.0, 12.0, "featureless"),
        (10.1, 1.0, "scores higher than the best hypothesis"),
        (12.0, 1.0, "None of the hypotheses"),
    ],
)
def test_what_is_no_better_than_a_control_is_not_decided(asymmetric: float, round_: float, says: str) -> None:
    found = compare_scores([scored(TRUTH, 10.0, seed=1), *controls(asymmetric, round_)])
    assert found.best is None
    assert says in found.conclusion


def test_a_map_without_symmetry_may_come_close() -> None:
    maps = [scored(TRUTH, 10.0, seed=1), *controls(9.9)]
    # That alone would say as much for a symmetry that does no harm.
    alone = compare_scores(maps)
    assert alone.best is None
    assert "no other hypothesis was beaten" in alone.conclusion
    found = compare_scores([*maps, scored(HelicalSymmetry(-100.6, 5.13), 5.0, seed=2)])
    assert found.best == TRUTH
    assert "without symmetry explains them as well" in found.conclusion


def test_controls_alone_are_refused() -> None:
    with pytest.raises(HelixLabError, match="helical"):
        compare_scores(controls())


def _slow_marginal(particles: PreparedParticles, reference: Volume) -> np.ndarray:
    """Pose by pose, in float64, on the grid of the search."""
    grid = RANGES.orientations(particles.resolution_A(SHELL))
    shifts = RANGES.shifts_px(particles.resolution_A(SHELL), particles.pixel_size_A)
    angles = grid.angles_deg()
    x, ctf, band = (a for a in particles.whitened(np.arange(6), NOISE, SHELL))
    transform = reference_transform(jnp.asarray(reference.data), r_max=particles.last_shell)
    seen = np.asarray(slices(transform, pose_matrices(*angles.T), band.k), np.float64)
    cos, sin = (np.asarray(a, np.float64) for a in shift_phases(jnp.asarray(shifts, jnp.float32), band))
    _, precision = RANGES.prior(particles.pixel_size_A)
    prior = RANGES.log_prior(angles)[:, None] - 0.5 * np.sum(precision[3:] * shifts**2, axis=1)
    scores = []
    for image in (np.asarray(x, np.float64), np.asarray(flip_bands(x), np.float64)):
        real = image[:, None, 0] * cos - image[:, None, 1] * sin
        imag = image[:, None, 0] * sin + image[:, None, 1] * cos
        model = np.asarray(ctf, np.float64)[:, None, None] * seen
        moved = np.stack([real, imag], axis=2)[:, None]
        left = np.sum((moved - model[:, :, None]) ** 2, axis=(3, 4)) - np.sum(moved**2, axis=(3, 4))
        scores.append(prior - left)
    count = 2 * np.exp(logsumexp(prior))
    return logsumexp(np.stack(scores), axis=(0, 2, 3)) - np.log(count)
