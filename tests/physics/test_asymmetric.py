"""Without symmetry: a map from which the search finds it, and of the size that the images say."""

from pathlib import Path

import numpy as np
import pytest
from physics.known_segments import true_poses

from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates
from helixlab.io import read_particles, read_volume
from helixlab.kernels.masks import cylindrical_mask
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.events import IterationEvent
from helixlab.reconstruct.iterate import refine
from helixlab.reconstruct.maximisation import accumulate, half_map
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.prepare import prepare_particles
from helixlab.search import prepare_filament, search_symmetry
from helixlab.search.imposed import Imposed, prepare_noise
from helixlab.simulate import OpticsSettings, ParticleSettings, SimulatedParticles, simulate_particles
from helixlab.simulate.atoms import AtomicUnit

TRUTH = HelicalSymmetry(137.0, 27.0)
"""Subunits 60 Å apart and more: one does not run into the next along any screw."""


def _large_subunit() -> AtomicUnit:
    """A tilted ellipsoid with a lobe at one end: at 20 Å it has no dyad."""
    rng, lean_rad = np.random.default_rng(1), np.deg2rad(35)
    cos, sin = np.cos(lean_rad), np.sin(lean_rad)
    body = rng.normal(size=(300, 3)) * [7, 12, 6] @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]) + [24, 0, 0]
    lobe = rng.normal(size=(120, 3)) * [6, 5, 5] + [40, 14, 12]
    return AtomicUnit(np.concatenate([body, lobe]), np.full(420, "C"), name="two lobes")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedParticles:
    settings = ParticleSettings(
        n_filaments=12,
        segments_per_filament=20,
        box_px=48,
        pixel_size_A=5.0,
        inter_box_distance_A=TRUTH.rise_A,
        optics=(OpticsSettings(snr=0.2),),
    )
    return simulate_particles(_large_subunit(), TRUTH, tmp_path_factory.mktemp("segments"), settings)


def test_search_finds_the_symmetry_of_a_map_refined_without_it(simulated: SimulatedParticles, tmp_path: Path) -> None:
    # From a model of 40 Å, in which subunits 27 Å apart along the axis are no more than a helical path.
    settings = RefinementSettings(initial_lowpass_res_A=40, shift_range_along_A=TRUTH.rise_A / 2, max_iterations=4)
    particles = read_particles(simulated.files["star"])
    *_, last, _ended = refine(particles, settings, tmp_path / "run", volume=simulated.reference)
    assert isinstance(last, IterationEvent)
    assert (last.twist_deg, last.rise_A) == (None, None)
    assert last.resolution_A < 22
    refined = read_particles(tmp_path / "run" / "particles.star")
    assert refined.psi_deg is not None
    assert simulated.truth.psi_deg is not None
    # The model had its polarity.
    assert np.mean(np.abs((refined.psi_deg - simulated.truth.psi_deg + 180) % 360 - 180) < 90) > 0.95
    half1, half2 = (read_volume(tmp_path / "run" / f"half{half}.mrc") for half in (1, 2))
    found = search_symmetry(half1, half2).best
    assert found.symmetry.point_group == "C1"
    assert found.twist_se_deg is not None
    assert found.rise_se_A is not None
    # Of 360° and 38 Å that were searched: three standard errors, which are a small part of them.
    assert abs(found.symmetry.twist_deg - TRUTH.twist_deg) < 3 * found.twist_se_deg < 1.5
    assert abs(found.symmetry.rise_A - TRUTH.rise_A) < 3 * found.rise_se_A < 1.5


def test_images_at_their_true_poses_make_a_map_as_long_as_the_filament(simulated: SimulatedParticles) -> None:
    particles = prepare_particles(read_particles(simulated.files["star"]), RefinementSettings())
    total = accumulate(particles, true_poses(simulated.truth, particles), image_power(particles))
    made = half_map(total, box_px=particles.box_px)
    middle = np.asarray(cylindrical_mask(made.shape, 10.0, z_fraction=0.6, edge_px=3.0))
    z = axis_coordinates(particles.box_px)

    def correlation(stretch: float) -> float:
        longer = np.apply_along_axis(lambda line: np.interp(z / (1 + stretch), z, line), 0, simulated.reference.data)
        return float(np.corrcoef((longer * middle).ravel(), (made * middle).ravel())[0, 1])

    stretches = np.linspace(-0.015, 0.015, 7)
    square, slope, _ = np.polyfit(stretches, [correlation(stretch) for stretch in stretches], 2)
    # 0.36% where images are added with the weights that they have, which rise with frequency.
    assert abs(-slope / (2 * square)) < 0.0015


def test_noise_that_overlapping_segments_share_was_not_imposed(simulated: SimulatedParticles) -> None:
    particles = prepare_particles(read_particles(simulated.files["star"]), RefinementSettings())
    poses, power = true_poses(simulated.truth, particles), image_power(particles)
    halves = [
        Volume(
            half_map(accumulate(particles, poses.select(particles.half_set == half), power), box_px=particles.box_px),
            particles.pixel_size_A,
        )
        for half in (1, 2)
    ]
    # Segments one rise apart bring the same noise to a voxel and to its copy: their noise correlates by 0.3.
    assert prepare_noise(prepare_filament(*halves), *halves).find_imposed(TRUTH) == Imposed(False, False)
