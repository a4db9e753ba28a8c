"""A wrong symmetry is doubted: by half maps before it is imposed, and by rivals that have its layer lines."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from physics.known_segments import TRUTH, simulate_segments

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.geometry.grids import axis_coordinates
from helixlab.geometry.lattice import layer_lines
from helixlab.io import read_particles
from helixlab.kernels.bands import frequency_band, shift_bands
from helixlab.kernels.project import reference_transform, slices
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.begin import init
from helixlab.reconstruct.events import IterationEvent
from helixlab.reconstruct.expectation import align_images
from helixlab.reconstruct.iterate import refine
from helixlab.reconstruct.poses import Poses, joined_poses
from helixlab.reconstruct.prepare import PreparedParticles, prepare_particles
from helixlab.reconstruct.rivals import best_rival, carried, rivals_of, with_rival
from helixlab.reconstruct.state import RefinementState, search_range
from helixlab.reconstruct.symmetry_update import SymmetryEstimate, update_symmetry
from helixlab.simulate import SimulatedParticles, simulate_helix

SETTINGS = RefinementSettings(twist_deg=-101.1, rise_A=5.13)


# --- rivals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetry", [TRUTH, HelicalSymmetry(60.0, 12.0), HelicalSymmetry(29.4, 21.8, "C6")])
def test_rivals_have_layer_lines_at_the_same_heights(symmetry: HelicalSymmetry) -> None:
    rivals = rivals_of(symmetry, 42.0, 12.0)
    assert len(rivals) >= 4
    own = {round(line.freq_per_A, 9) for line in layer_lines(symmetry, 1 / 12, 24)}
    for rival in rivals[:4]:
        # Orders of a line differ by less than 100 between these rivals: none is cut off.
        lines = {round(line.freq_per_A, 9) for line in layer_lines(rival.symmetry, 1 / 12, 124)}
        assert own <= lines
        assert not rival.symmetry.is_equivalent(symmetry, twist_tol_deg=0.5, rise_tol_A=0.1)


def test_an_image_of_a_helix_is_one_of_its_rival_from_elsewhere() -> None:
    # Two terms exp(i(nφ − 2πZz)): one of order −1, which both helices have, and one of order 4, which with 8 units more
    # is of order −4. J₋ₙ = (−1)ⁿJₙ: radial profiles stay, and all images are the same, not only their layer lines.
    imposed, box, pixel_A = HelicalSymmetry(-81.1, 4.115), 48, 4.0
    rival = next(r for r in rivals_of(imposed, 42.0, 12.0) if abs(r.symmetry.rise_A - 5.13) < 0.01)
    pitch_A = 360.0 * imposed.rise_A / imposed.twist_deg
    line_per_A = (4 + 360.0 / imposed.twist_deg) / pitch_A
    z, y, x = np.meshgrid(*(3 * [axis_coordinates(box, pixel_A)]), indexing="ij")
    phi, profile = np.arctan2(y, x), np.exp(-0.5 * ((np.hypot(y, x) - 30.0) / 6.0) ** 2)

    def transform(order: int) -> jnp.ndarray:
        terms = np.cos(-phi - 2 * np.pi * z / -pitch_A) + np.cos(order * phi - 2 * np.pi * line_per_A * z)
        window = np.exp(-0.5 * (z / 40.0) ** 2)
        return reference_transform(jnp.asarray(profile * window * terms, jnp.float32), r_max=20)

    rng, n, band = np.random.default_rng(3), 20, frequency_band(box, 20)
    angles = np.stack([rng.uniform(0, 360, n), np.full(n, 90.0), rng.uniform(-10, 10, n)], axis=1)
    poses = Poses(np.arange(n), np.zeros(n, bool), angles, rng.uniform(-1, 1, (n, 2)), np.ones(n))

    def seen(order: int, poses: Poses) -> np.ndarray:
        views = slices(transform(order), jnp.asarray(poses.matrices), band.k)
        return np.asarray(shift_bands(views, jnp.asarray(-poses.shift_px, jnp.float32), band)).ravel()

    there = carried(poses, rival, pixel_A)
    # The window does not move with the pose, by at most half a rise of its 40 Å.
    assert np.corrcoef(seen(4, poses), seen(-4, there))[0, 1] > 0.99
    # What decides is the pose and the order.
    assert np.corrcoef(seen(4, poses), seen(4, there))[0, 1] < 0.9
    assert np.corrcoef(seen(4, poses), seen(-4, poses))[0, 1] < 0.9


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedParticles:
    return simulate_segments(tmp_path_factory.mktemp("segments"), snr=0.3)


@pytest.fixture(scope="module")
def particles(simulated: SimulatedParticles) -> PreparedParticles:
    return prepare_particles(read_particles(simulated.files["star"]), SETTINGS)


@pytest.fixture(scope="module")
def ended(particles: PreparedParticles, simulated: SimulatedParticles) -> RefinementState:
    """As a run under the true symmetry ends."""
    reference = simulated.reference.with_data(simulated.reference.data * simulated.signal_scale[0])
    state = init(particles, SETTINGS, volume=reference)
    ranges = search_range(particles, SETTINGS, TRUTH, state.mask.outer_radius_A)
    halves = [
        align_images(
            particles,
            particles.rows_of(half),
            jnp.asarray(reference.data),
            state.noise_power,
            ranges,
            shells=(16, 16),
        ).poses
        for half in (1, 2)
    ]
    return replace(state, poses=joined_poses(halves))


def test_the_true_symmetry_has_no_better_rival(particles: PreparedParticles, ended: RefinementState) -> None:
    assert best_rival(particles, ended, SETTINGS) is None


def test_a_wrong_symmetry_of_the_same_layer_lines_is_doubted(
    particles: PreparedParticles, ended: RefinementState
) -> None:
    # 4.44 units in a turn instead of 3.56, the poses where they explain the images.
    wrong = next(r for r in rivals_of(TRUTH, 42.0, 12.0) if abs(r.symmetry.rise_A - 4.115) < 0.01)
    assert ended.poses is not None
    poses = carried(ended.poses.best, wrong, particles.pixel_size_A)
    state = replace(ended, estimate=SymmetryEstimate(wrong.symmetry), poses=poses)
    told = with_rival(IterationEvent(iteration=1, resolution_A=8.0), particles, state, SETTINGS)
    assert len(told.warnings) == 1
    assert "doubted: another one (twist -101.1" in told.warnings[0]
    assert "helixlab compare" in told.warnings[0]
    # A start that is doubted itself leaves poses that tell nothing of it.
    assert best_rival(particles, replace(state, start_warning="No two models agree."), SETTINGS) is None


def test_a_run_under_a_wrong_symmetry_of_the_same_layer_lines_ends_with_the_doubt(
    simulated: SimulatedParticles,
) -> None:
    # One subunit more in a turn of the same pitch: the search of both moves it to 4.44 in a turn.
    wrong = SETTINGS.replaced(twist_deg=-78.93, rise_A=4.005, max_iterations=4)
    *_, last, _ended = refine(read_particles(simulated.files["star"]), wrong)
    assert isinstance(last, IterationEvent)
    assert any("doubted: another one (twist -101." in warning for warning in last.warnings)


# --- half maps before a symmetry is imposed -----------------------------------------------------


@pytest.fixture(scope="module")
def halves() -> tuple[Volume, Volume]:
    made = simulate_helix("builtin", TRUTH, box=48, pixel_size_A=4.0, resolution_A=10.0, noise=0.5, seed=1)
    assert made.half1 is not None
    assert made.half2 is not None
    return made.half1, made.half2


def test_errors_that_were_known_are_kept_where_a_search_determines_none(halves: tuple[Volume, Volume]) -> None:
    # Ranges of a hundredth of a degree and 0.003 Å, about as wide as the errors: nothing is learned within them.
    narrow = SETTINGS.replaced(twist_search_extent_deg=0.01, rise_search_extent_fraction=0.0005)
    latest = SymmetryEstimate(TRUTH, 0.1, 0.02)
    assert update_symmetry(*halves, latest, narrow, outer_radius_A=45.0) == latest
    # Far from the truth they are known to be wrong, and the errors still hold.
    latest = replace(latest, symmetry=HelicalSymmetry(-101.1, 5.23))
    far = narrow.replaced(rise_A=5.23)
    found = update_symmetry(*halves, latest, far, outer_radius_A=45.0)
    assert "outside the search ranges" in found.warning
    assert replace(found, warning="") == latest


def test_a_doubt_outlives_half_maps_that_had_the_symmetry_imposed(halves: tuple[Volume, Volume]) -> None:
    latest = SymmetryEstimate(TRUTH, warning="out of range", doubt="The imposed symmetry is doubted: an earlier one.")
    seen, imposed = (
        update_symmetry(*halves, latest, SETTINGS, outer_radius_A=45.0, is_imposed=is_imposed)
        for is_imposed in (False, True)
    )
    assert np.isfinite(seen.rise_se_A)
    # A warning is of its own iteration.
    assert (seen.warning, seen.doubt) == ("", "")
    assert imposed == replace(seen, doubt=latest.doubt)
    # Values that have moved since are judged anew.
    moved = replace(latest, symmetry=HelicalSymmetry(-99.0, 5.13))
    assert update_symmetry(*halves, moved, SETTINGS, outer_radius_A=45.0, is_imposed=True).doubt == ""
