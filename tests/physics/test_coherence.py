"""Segments of a filament tell each other's poses, as far as the filament is coherent."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from physics.known_segments import TRUTH, simulate_segments, true_poses

from helixlab.io import read_particles
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.coherence import coherent_poses
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles, prepare_particles
from helixlab.reconstruct.spacing import places_A
from helixlab.simulate import OpticsSettings, ParticleSettings, SimulatedParticles, simulate_particles

RANGES = SearchRange(45.0, 60.0, 1, TRUTH.rise_A / 2, 10.0, 5.0, 3.3)
"""Two segments, 30 Å apart, see each piece of 60 Å."""

ERROR = np.array([3.0, 2.0, 1.0, 0.3, 0.3])
"""Standard deviations of rot, tilt, psi in degrees and of shifts in pixels of 4 Å."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedParticles:
    return simulate_segments(tmp_path_factory.mktemp("coherent"), snr=0.1)


@pytest.fixture(scope="module")
def prepared(simulated: SimulatedParticles) -> PreparedParticles:
    settings = RefinementSettings(twist_deg=TRUTH.twist_deg, rise_A=TRUTH.rise_A)
    return prepare_particles(read_particles(simulated.files["star"]), settings)


def with_errors(poses: Poses) -> tuple[Poses, np.ndarray]:
    """Errors of their own for every image, and the information that such errors leave."""
    error = np.random.default_rng(2).normal(size=(len(poses), 5)) * ERROR
    wrong = replace(poses, angles_deg=poses.angles_deg + error[:, :3], shift_px=poses.shift_px + error[:, 3:])
    return wrong, np.tile(np.diag(ERROR**-2.0), (len(poses), 1, 1))


def rms_errors(found: Poses, true: Poses) -> np.ndarray:
    """Of the five numbers, as parts of ERROR."""
    turned = (found.angles_deg - true.angles_deg + 180) % 360 - 180
    off = np.concatenate([turned, found.shift_px - true.shift_px], axis=1)
    return np.sqrt(np.mean(off**2, axis=0)) / ERROR


def test_neighbours_halve_the_errors_of_poses(simulated: SimulatedParticles, prepared: PreparedParticles) -> None:
    true = true_poses(simulated.truth, prepared)
    wrong, information = with_errors(true)
    before = rms_errors(wrong, true)
    after = rms_errors(coherent_poses(prepared, wrong, information, TRUTH, RANGES), true)
    # Nine others, of which two share their noise, would leave 1/√(1 + 9/2) = 0.43 of the errors of a straight filament.
    assert np.all(after[:4] < 0.6 * before[:4])
    # Across, segments were picked by 3 Å to either side: 2.5 times the error, of which neighbours know nothing.
    assert after[4] < 1.05 * before[4]


def test_segments_that_do_not_follow_their_filament_are_left(
    simulated: SimulatedParticles, prepared: PreparedParticles
) -> None:
    true = true_poses(simulated.truth, prepared)
    rng = np.random.default_rng(7)
    angles = true.angles_deg.copy()
    angles[:, 0] = rng.uniform(-180, 180, len(true))
    angles[:, 1] = 90 + rng.normal(0, 10, len(true))
    scattered, information = with_errors(replace(true, angles_deg=angles))
    found = coherent_poses(prepared, scattered, information, TRUTH, RANGES)
    moved = np.sqrt(np.mean((found.angles_deg - scattered.angles_deg)[:, :2] ** 2, axis=0))
    # With the deviation of segments D and their error E, neighbours' word weighs E²/(E² + D²): 4% of 10° of tilt, and
    # less of azimuths, of which the lattice leaves 25° or so.
    assert np.all(moved < 0.25 * ERROR[:2])


def test_some_filaments_that_are_not_coherent_are_left(
    simulated: SimulatedParticles, prepared: PreparedParticles
) -> None:
    true = true_poses(simulated.truth, prepared)
    is_odd = prepared.filament % 4 == 0
    angles = true.angles_deg.copy()
    angles[is_odd, 0] = np.random.default_rng(7).uniform(-180, 180, is_odd.sum())
    true = replace(true, angles_deg=angles)
    wrong, information = with_errors(true)
    found = coherent_poses(prepared, wrong, information, TRUTH, RANGES)
    odd, rest = np.flatnonzero(is_odd), np.flatnonzero(~is_odd)
    # A few agree with half of their neighbours by chance.
    assert np.all(rms_errors(found.select(odd), true.select(odd))[:4] < 1.15)
    assert np.all(rms_errors(found.select(rest), true.select(rest))[:4] < 0.65)


@pytest.mark.parametrize("reversed_part", [0.1, 1.0])
def test_priors_may_point_either_way(
    simulated: SimulatedParticles, prepared: PreparedParticles, reversed_part: float
) -> None:
    # Of the first segment of each filament, or of all: what was flipped is not, and the other way round.
    stack = read_particles(simulated.files["star"])
    is_turned = prepared.filament >= 0 if reversed_part == 1 else np.diff(prepared.filament, prepend=-1) != 0
    psi_deg = np.asarray(stack.psi_prior_deg) + 180.0 * is_turned
    turned = replace(prepared, psi_prior_deg=psi_deg, place_A=places_A(stack, psi_deg))
    true = true_poses(simulated.truth, turned)
    wrong, information = with_errors(true)
    found = coherent_poses(turned, wrong, information, TRUTH, RANGES)
    rest = np.flatnonzero(~is_turned | (reversed_part == 1))
    assert np.all(rms_errors(found.select(rest), true.select(rest))[:4] < 0.6)


def test_segments_that_overlap_much_are_asked_further_away(tmp_path: Path) -> None:
    # As amyloids are cut: the sixteen nearest see a piece of the same, and share its noise.
    fine = ParticleSettings(
        n_filaments=6,
        segments_per_filament=60,
        box_px=36,
        pixel_size_A=4.0,
        inter_box_distance_A=10.0,
        optics=(OpticsSettings(snr=None),),
    )
    made = simulate_particles("builtin", TRUTH, tmp_path, fine)
    settings = RefinementSettings(twist_deg=TRUTH.twist_deg, rise_A=TRUTH.rise_A)
    particles = prepare_particles(read_particles(made.files["star"]), settings)
    true = true_poses(made.truth, particles)
    wrong, information = with_errors(true)
    found = coherent_poses(particles, wrong, information, TRUTH, replace(RANGES, length_A=200.0))
    assert np.all(rms_errors(found, true)[:4] < 0.7 * rms_errors(wrong, true)[:4])


def test_a_wrong_pose_neither_moves_nor_misleads(simulated: SimulatedParticles, prepared: PreparedParticles) -> None:
    true = true_poses(simulated.truth, prepared)
    wrong, information = with_errors(true)
    odd = np.unique(prepared.filament, return_index=True)[1] + 4
    angles = wrong.angles_deg.copy()
    angles[odd, 1] += 30.0
    wrong = replace(wrong, angles_deg=angles)
    found = coherent_poses(prepared, wrong, information, TRUTH, RANGES)
    assert np.array_equal(found.select(odd).angles_deg, wrong.select(odd).angles_deg)
    rest = np.setdiff1d(np.arange(len(true)), odd)
    assert np.all(rms_errors(found.select(rest), true.select(rest))[:4] < 0.65)


@pytest.mark.parametrize("file", ["star", "cs"])
def test_places_are_where_the_lattice_says(simulated: SimulatedParticles, file: str) -> None:
    stack = read_particles(simulated.files[file])
    assert simulated.truth.psi_deg is not None
    psi_deg = stack.psi_prior_deg
    assert psi_deg is not None
    settings = RefinementSettings(twist_deg=TRUTH.twist_deg, rise_A=TRUTH.rise_A)
    prepared = prepare_particles(stack, settings)
    places = places_A(stack, np.asarray(psi_deg))
    assert places is not None
    true = true_poses(simulated.truth, prepared)
    origin_A = np.where(true.is_flipped, -places, places)
    origin_A += np.sum(true.shift_px * true.axes[:, 0], axis=1) * prepared.pixel_size_A
    follows = np.diff(prepared.filament) == 0
    steps = np.diff(origin_A)[follows] / (TRUTH.rise_A * np.sin(np.deg2rad(true.angles_deg[:-1, 1][follows])))
    # Origins are whole rises apart, and their azimuths follow; coordinates are whole pixels, and psi priors 1° off.
    assert np.abs(steps - np.rint(steps)).max() < 0.15
    turn = np.diff(true.angles_deg[:, 0])[follows] + np.rint(steps) * TRUTH.twist_deg
    assert np.abs((turn + 180) % 360 - 180).max() < 1e-3


def test_without_places_poses_stay(simulated: SimulatedParticles, prepared: PreparedParticles) -> None:
    wrong, information = with_errors(true_poses(simulated.truth, prepared))
    found = coherent_poses(replace(prepared, place_A=None), wrong, information, TRUTH, RANGES)
    assert found is wrong


def test_places_are_not_known_without_coordinates(simulated: SimulatedParticles) -> None:
    stack = read_particles(simulated.files["star"])
    psi_deg = np.asarray(stack.psi_prior_deg)
    for missing in ("coordinate_x_px", "coordinate_y_px", "track_length_A", "filament_id"):
        assert places_A(stack.replace(**{missing: None}), psi_deg) is None
    # Of a micrograph with pixels half as large.
    assert stack.coordinate_x_px is not None
    assert stack.coordinate_y_px is not None
    finer = stack.replace(coordinate_x_px=2 * stack.coordinate_x_px, coordinate_y_px=2 * stack.coordinate_y_px)
    assert np.allclose(places_A(finer, psi_deg), places_A(stack, psi_deg), atol=1e-9)
