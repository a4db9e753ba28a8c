"""Segments of a known helix decide for it, against near misses and controls; noise decides for nothing."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from physics.known_segments import TRUTH, simulate_segments

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import ParticleStack, new_image_stack, read_particles
from helixlab.reconstruct import RefinementSettings, compare
from helixlab.reconstruct.begin import init
from helixlab.reconstruct.compare import compare_hypotheses, narrowed
from helixlab.reconstruct.held_out import Mean, best_scale, held_out_scores
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.prepare import PreparedParticles, prepare_particles
from helixlab.reconstruct.state import RefinementState, search_range
from helixlab.reconstruct.step import step
from helixlab.reconstruct.verdicts import ComparedHypothesis, HypothesisComparison
from helixlab.simulate import OpticsSettings, ParticleSettings, simulate_particles

MIRROR = TRUTH.mirrored()
MULTIPLE = TRUTH.multiple(2)
TURNS = 360 / 101.1
WRONG = {
    "one subunit more per turn": HelicalSymmetry(-360 / (TURNS + 1), 5.13),
    "one subunit less per turn": HelicalSymmetry(-360 / (TURNS - 1), 5.13),
    "half a degree off": HelicalSymmetry(-100.6, 5.13),
    "rise 2% off": HelicalSymmetry(-101.1, 5.13 * 1.02),
}


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> ParticleStack:
    return read_particles(simulate_segments(tmp_path_factory.mktemp("a"), snr=0.3).files["star"])


@pytest.fixture(scope="module")
def comparison(segments: ParticleStack) -> HypothesisComparison:
    # The truth neither first nor last.
    return compare_hypotheses(segments, [MULTIPLE, *WRONG.values(), TRUTH, MIRROR])


def row_of(comparison: HypothesisComparison, symmetry: HelicalSymmetry) -> ComparedHypothesis:
    return next(row for row in comparison.rows if row.maps.symmetry == symmetry)


def test_segments_decide_for_the_truth(comparison: HypothesisComparison) -> None:
    assert comparison.is_decided
    assert comparison.best == TRUTH
    assert comparison.rows[0].difference.value == 0


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_worse_by_three_standard_errors(comparison: HypothesisComparison, what: str) -> None:
    row = row_of(comparison, WRONG[what])
    assert row.verdict == "worse"
    assert row.difference.value < -3 * row.difference.se


def test_the_mirror_image_scores_the_same(comparison: HypothesisComparison) -> None:
    row = row_of(comparison, MIRROR)
    assert row.verdict == "mirror"
    assert row.difference == Mean(0.0, 0.0)  # that its maps have the same projections: see test_held_out


def test_every_second_subunit_is_recognised(comparison: HypothesisComparison) -> None:
    row = row_of(comparison, MULTIPLE)
    assert row.verdict == "multiple"
    assert "one in 2" in row.reason


def test_controls_are_not_better_and_the_round_one_is_the_worst(comparison: HypothesisComparison) -> None:
    kinds = {row.maps.kind: row for row in comparison.rows}
    assert kinds["asymmetric"].difference.value < 0
    assert kinds["round"].verdict == "worse"
    assert comparison.rows[-1].maps.kind == "round"


def test_a_hypothesis_scores_the_same_in_any_company(comparison: HypothesisComparison, segments: ParticleStack) -> None:
    # The other list has no rise above the segments' distance either.
    alone = compare_hypotheses(segments, [TRUTH])
    for row in alone.rows:
        among = next(r for r in comparison.rows if (r.maps.kind, r.maps.symmetry) == (row.maps.kind, row.maps.symmetry))
        # GPUs add in an order of their own: the thousand summands of a voxel make √1000 eps, 4e-6. A score is quadratic
        # in the map, poses stay near their maxima, and ten iterations add up. A standard error is 400 times as much.
        assert row.log_likelihood.value == pytest.approx(among.log_likelihood.value, rel=1e-4)


class Watched(RefinementSettings):
    """Settings that notice who asks for them; what only copies or checks them does not count."""

    read: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        asker = sys._getframe(1).f_globals["__name__"]
        if asker.startswith("helixlab.reconstruct") and asker != "helixlab.reconstruct.settings":
            Watched.read.add(name)
        return super().__getattribute__(name)


WITHOUT_MEANING = {
    "twist_deg": 30.0, "rise_A": 5.0, "point_group": "C2", "max_symmetry_order": 3,
    "twist_search_extent_deg": 2.0, "twist_search_range_deg": (28.0, 31.0), "twist_grid": 64,
    "rise_search_extent_fraction": 0.2, "rise_search_range_A": (4.5, 5.1), "rise_grid": 64, "fix_search_grid": False,
    "symmetry_search_start_res_A": 9.0, "inner_diameter_A": 10.0,
    "realspace_symmetrize_res_A": 9.0, "low_resolution_join_A": 15.0,
    "n_initial_models": 8, "use_cylindrical_model": True, "cylinder_outer_diameter_A": 100.0,
    "cylinder_inner_diameter_A": 10.0,
    "extra_final_passes": 1, "max_iterations_below_6A": 9, "max_iterations": 9,
}  # fmt: skip


def test_settings_without_meaning_are_named() -> None:
    named = compare.ignored_settings(RefinementSettings(**WITHOUT_MEANING, seed=3, gsfsc_split_res_A=15.0))
    assert set(named) == set(WITHOUT_MEANING)


def test_noise_decides_for_nothing(segments: ParticleStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Noise never settles, and need not.
    monkeypatch.setattr(compare, "_ITERATIONS", 3)
    few = segments.select(np.arange(64))
    path = tmp_path / "noise.mrcs"
    with new_image_stack(path, 64, 48, 4.0) as images:
        images[:] = np.random.default_rng(7).normal(size=images.shape)
    noise = few.replace(image_files=(str(path),), image_index=np.arange(64), image_file=np.zeros(64, int))
    stages: list[str] = []
    settings = Watched(use_nonuniform=True)  # which begins at 6 Å
    found = compare_hypotheses(
        noise, [TRUTH], resolution_A=20.0, settings=settings, progress=lambda stage, _: stages.append(stage)
    )
    # What else is not read would have to be named as well, but for what the command's check holds against the box.
    assert not Watched.read & set(compare._UNREAD)
    assert set(RefinementSettings.model_fields) - Watched.read <= {*WITHOUT_MEANING, "outer_diameter_A"}
    assert found.best is None
    assert found.conclusion.startswith("Undecided")
    # At whatever scale, a map of noise explains other noise no better than nothing does.
    score = row_of(found, TRUTH).log_likelihood
    assert score.value < 3 * score.se
    refined = {row.maps.kind: row.maps.name for row in found.rows}
    assert list(dict.fromkeys(stages)) == [
        "Reading images", refined["asymmetric"], refined["helical"], "Scoring held-out segments"
    ]  # fmt: skip


def test_a_smaller_box_holds_the_same_images(segments: ParticleStack) -> None:
    settings = RefinementSettings()
    whole = prepare_particles(segments.select(np.arange(20)), settings)
    small = narrowed(whole, 12.0)
    assert small.box_A == pytest.approx(whole.box_A)
    assert (small.box_px, small.last_shell) == (33, 16)
    noise = np.ones((1, whole.last_shell + 1))
    x, ctf, _ = whole.whitened(np.arange(5), noise, 16)
    near_x, near_ctf, _ = small.whitened(np.arange(5), noise[:, :17], 16)
    # Compiled for other shapes, products may be rounded otherwise: some eps of the CTF's phases, at most 10 rad.
    assert np.allclose(ctf, near_ctf, rtol=0, atol=5e-6)
    assert np.allclose(x, near_x, rtol=0, atol=5e-6 * np.abs(x).max())
    assert np.allclose(image_power(small), image_power(whole)[:, :17])


def test_what_cannot_be_compared_is_refused(segments: ParticleStack) -> None:
    with pytest.raises(HelixLabError, match="found none"):
        compare_hypotheses(segments, [])
    with pytest.raises(HelixLabError, match="found 1 in half-set 1"):
        compare_hypotheses(segments.select(np.array([0, 10])), [TRUTH])
    with pytest.raises(HelixLabError, match="fewer than 3 rises"):
        compare_hypotheses(segments, [HelicalSymmetry(10.0, 70.0)])
    with pytest.raises(HelixLabError, match="end at 8 Å"):
        compare_hypotheses(segments, [TRUTH], resolution_A=7.0)
    with pytest.raises(HelixLabError, match="must be at most 48"):
        compare_hypotheses(segments, [TRUTH], resolution_A=60.0)
    with pytest.raises(HelixLabError, match="mask=dynamic"):
        compare_hypotheses(segments, [TRUTH], settings=RefinementSettings(mask="static"))


RINGS = HelicalSymmetry(28.9, 21.8, "C6")
"""Its mirror image has a twist of 31.1°: at the ends of the box, and 40 Å from the axis, it is 9 Å away."""


@pytest.fixture(scope="module")
def rings(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedParticles, RefinementSettings, RefinementState]:
    few = ParticleSettings(
        n_filaments=10,
        segments_per_filament=8,
        box_px=64,
        pixel_size_A=4.0,
        inter_box_distance_A=65.0,
        optics=(OpticsSettings(snr=0.5),),
        seed=4,
    )
    made = simulate_particles("builtin", RINGS, tmp_path_factory.mktemp("rings"), few)
    settings = compare._imposing(compare._plain(RefinementSettings(), 12.0), RINGS)
    particles = narrowed(prepare_particles(read_particles(made.files["star"]), settings), 12.0)
    return particles, settings, compare._of_the_better_hand(particles, init(particles, settings), settings)


def test_a_map_of_the_wrong_hand_is_turned_into_the_right_one(
    rings: tuple[PreparedParticles, RefinementSettings, RefinementState],
) -> None:
    particles, settings, better = rings
    assert compare._is_near_its_mirror_image(RINGS, particles, better.mask)
    assert not compare._is_near_its_mirror_image(TRUTH, particles, better.mask)
    assert not compare._is_near_its_mirror_image(HelicalSymmetry(179.4, 2.4), particles, better.mask)
    wrong = replace(better, references=tuple(r.with_data(r.data[::-1].copy()) for r in better.references))
    mended = compare._of_the_better_hand(particles, wrong, settings)
    for _ in range(compare._HAND_ITERATIONS):
        wrong = step(particles, wrong, settings)[0]
    # Refined as long, the wrong hand stays what it is, and explains the images less well.
    assert wrong.log_posterior < 0.99 * better.log_posterior
    assert mended.log_posterior > (wrong.log_posterior + better.log_posterior) / 2


def test_maps_are_scored_at_the_scale_that_suits_them(
    rings: tuple[PreparedParticles, RefinementSettings, RefinementState],
) -> None:
    particles, settings, state = rings
    given = image_power(particles), search_range(particles, settings, RINGS, state.mask.outer_radius_A)

    def scaled(factor: float) -> tuple[Volume, Volume]:
        one, two = (r.with_data(np.float32(factor) * r.data) for r in state.references)
        return one, two

    def score(factor: float) -> float:
        return held_out_scores(particles, scaled(factor), *given, shell=particles.last_shell).mean.value

    best = best_scale(particles, state.references, *given, shell=particles.last_shell)
    # A cubic through four points of a curve that is nearly a parabola.
    assert 0.8 * best_scale(particles, scaled(0.8), *given, shell=particles.last_shell) == pytest.approx(best, rel=0.05)
    assert score(best) > max(score(0.8 * best), score(1.2 * best))
