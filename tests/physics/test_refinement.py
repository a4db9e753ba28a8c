"""From filament segments of known symmetry and poses to maps, and from noise to nothing."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from physics.known_segments import TRUTH, simulate_segments, true_poses

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.geometry.pose import euler_to_matrix, matrix_to_euler, rotation_vector_to_matrix
from helixlab.io import new_image_stack, read_particles
from helixlab.kernels.bands import flip_bands, shift_bands
from helixlab.kernels.masks import spherical_mask
from helixlab.kernels.project import reference_transform, slices
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.band_store import MemoryBands
from helixlab.reconstruct.begin import check_given
from helixlab.reconstruct.events import IterationEvent, RunEnded
from helixlab.reconstruct.expectation import align_images
from helixlab.reconstruct.grid_search import SearchRange
from helixlab.reconstruct.iterate import refine, refined_table
from helixlab.reconstruct.maximisation import accumulate, half_map
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import MASK_EDGE_PX, PreparedParticles, prepare_particles
from helixlab.reconstruct.symmetry_update import SymmetryEstimate, update_symmetry
from helixlab.simulate import OpticsSettings, ParticleSettings, SimulatedParticles, simulate_particles

SETTINGS = RefinementSettings(twist_deg=-101.1, rise_A=5.13, realspace_symmetrize_res_A=30)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedParticles:
    return simulate_segments(tmp_path_factory.mktemp("segments"), snr=0.1)


@pytest.fixture(scope="module")
def prepared(simulated: SimulatedParticles) -> PreparedParticles:
    return prepare_particles(read_particles(simulated.files["star"]), SETTINGS)


def test_images_at_their_true_poses_are_the_projections_of_the_map(
    simulated: SimulatedParticles, prepared: PreparedParticles
) -> None:
    # Correlation of images and CTF-weighted slices: frames, CTFs, shifts and signs are right together or not.
    poses = true_poses(simulated.truth, prepared)
    rows, noise = np.arange(len(prepared)), np.ones((1, prepared.last_shell + 1))
    x, ctf, band = prepared.whitened(rows, noise, prepared.last_shell)
    # The images end in a soft circle, and the filament, which is thin beside the box, in a sphere.
    ball = spherical_mask((48, 48, 48), 24 - MASK_EDGE_PX, edge_px=MASK_EDGE_PX)
    reference = reference_transform(jnp.asarray(simulated.reference.data) * ball, r_max=prepared.last_shell)
    seen = ctf[:, None] * slices(reference, jnp.asarray(poses.matrices), band.k)
    x = jnp.where(jnp.asarray(poses.is_flipped)[:, None, None], flip_bands(x), x)
    centred = shift_bands(x, jnp.asarray(poses.shift_px, jnp.float32), band)
    scale = float(jnp.sum(centred * seen) / jnp.sum(seen**2))
    # With a wrong sign or frame next to nothing would be left. What detector and normalisation take is 10 to 20%.
    assert scale == pytest.approx(simulated.signal_scale[0], rel=0.25)


def test_equivalent_poses_see_the_same(simulated: SimulatedParticles, prepared: PreparedParticles) -> None:
    poses, rise_px = true_poses(simulated.truth, prepared), TRUTH.rise_A / prepared.pixel_size_A
    poses = replace(poses, shift_px=poses.shift_px + np.array([rise_px, 0.0]))
    within = poses.within_one_unit(TRUTH, prepared.pixel_size_A)
    psi_rad = np.deg2rad(within.angles_deg[:, 2])
    along_px = within.shift_px[:, 0] * np.cos(psi_rad) - within.shift_px[:, 1] * np.sin(psi_rad)
    assert np.abs(along_px).max() <= rise_px / 2 + 1e-9
    reference = reference_transform(jnp.asarray(simulated.reference.data), r_max=12)
    k = prepared.whitened(np.arange(1), np.ones((1, 24)), 12)[2]
    views = []
    for p in (poses, within):
        seen = slices(reference, jnp.asarray(p.matrices), k.k)
        views.append(np.asarray(shift_bands(seen, jnp.asarray(-p.shift_px, jnp.float32), k)))
    # A step of the screw moves the box's ends: 2 of 48 pixels of filament come and go.
    assert np.corrcoef(views[0].ravel(), views[1].ravel())[0, 1] > 0.98
    moved = np.abs(within.shift_px[:, 0] - poses.shift_px[:, 0]) > rise_px / 2
    assert moved.mean() > 0.9


def test_equivalent_poses_put_subunits_where_they_were() -> None:
    helix, rng, n = HelicalSymmetry(29.4, 21.8), np.random.default_rng(7), 20
    angles = np.stack([rng.uniform(0, 360, n), rng.uniform(70, 110, n), rng.uniform(-20, 20, n)], axis=1)
    poses = Poses(np.arange(n), np.zeros(n, bool), angles, rng.uniform(-40, 40, (n, 2)), np.ones(n))
    steps = np.arange(-20, 21)
    turn_rad = np.deg2rad(helix.twist_deg * steps)
    subunits = np.stack([30 * np.cos(turn_rad), 30 * np.sin(turn_rad), helix.rise_A * steps], axis=1)

    def seen(poses: Poses) -> np.ndarray:
        """In pixels of 2 Å; a particle sits at minus its shift."""
        matrices = euler_to_matrix(*poses.angles_deg.T)
        return np.einsum("nij,sj->nsi", matrices[:, :2], subunits) / 2 - poses.shift_px[:, None]

    before, after = seen(poses), seen(poses.within_one_unit(helix, 2.0))
    # Shifts of 40 pixels are at most six rises: the middle ones of 41 subunits are there in both.
    gaps = np.linalg.norm(before[:, 15:26, None] - after[:, None], axis=-1).min(axis=2)
    assert gaps.max() < 1e-9  # rounding of float64 at some hundred pixels is a thousandth of it


def test_alignment_finds_the_true_poses(simulated: SimulatedParticles, prepared: PreparedParticles) -> None:
    rows = prepared.rows_of(1)
    ranges = SearchRange(45.0, 150.0, 1, TRUTH.rise_A / 2, 10.0, 5.0, 3.3)
    reference = jnp.asarray(simulated.reference.data * simulated.signal_scale[0])
    found = align_images(
        prepared, rows, reference, np.ones((1, prepared.last_shell + 1)), ranges, shells=(16, 16, 23)
    ).poses.best
    true = true_poses(simulated.truth, prepared).select(rows).within_one_unit(TRUTH, prepared.pixel_size_A)
    assert np.array_equal(found.is_flipped, true.is_flipped)
    found = found.within_one_unit(TRUTH, prepared.pixel_size_A)
    # Images on the edge between two units may count to either.
    steps = np.rint((found.shift_px[:, 0] - true.shift_px[:, 0]) / (TRUTH.rise_A / prepared.pixel_size_A))
    rot_deg = found.angles_deg[:, 0] + steps * TRUTH.twist_deg
    difference = np.abs((rot_deg - true.angles_deg[:, 0] + 180) % 360 - 180)
    # Half a cell of the grid, 8 Å / (4 · 45 Å).
    assert np.median(difference) < 2.6
    assert np.mean(difference < 5.2) > 0.85


def test_a_segment_follows_its_filament_in_polarity(simulated: SimulatedParticles, prepared: PreparedParticles) -> None:
    # The first of each filament's ten segments is turned by 180°. Five neighbours see the same, so that the nine others
    # outweigh its own evidence 9/5 times on average, on most filaments but not on all.
    rows, count = prepared.rows_of(1), len(prepared.band.k)
    first = np.unique(prepared.filament, return_index=True)[1]
    x = prepared.x.read(np.arange(len(prepared)), count).copy()
    x[first] = np.asarray(flip_bands(jnp.asarray(x[first])))
    turned = replace(prepared, x=MemoryBands(x))
    ranges = SearchRange(45.0, 150.0, 1, TRUTH.rise_A / 2, 10.0, 5.0, 3.3)
    reference = jnp.asarray(simulated.reference.data * simulated.signal_scale[0])
    noise, shells = np.ones((1, prepared.last_shell + 1)), (16, 16, 23)
    follows = []
    for is_coherent in (False, True):
        found = align_images(turned, rows, reference, noise, ranges, shells=shells, is_coherent=is_coherent).poses.best
        true = true_poses(simulated.truth, prepared).select(rows)
        follows.append(np.mean((found.is_flipped == true.is_flipped)[np.isin(rows, first)]))
    assert follows[0] < 0.2
    assert follows[1] >= 0.5


def test_refinement_from_random_azimuths_finds_poses_and_symmetry(
    simulated: SimulatedParticles, prepared: PreparedParticles, tmp_path: Path
) -> None:
    start = SETTINGS.replaced(twist_deg=-100.8, rise_A=5.15, symmetry_search_start_res_A=14, max_iterations=5)
    *_, last, ended = refine(read_particles(simulated.files["star"]), start, tmp_path / "run")
    assert isinstance(last, IterationEvent)
    assert isinstance(ended, RunEnded)
    refined = read_particles(tmp_path / "run" / "particles.star")
    assert refined.psi_deg is not None
    assert simulated.truth.psi_deg is not None
    is_right = np.abs((refined.psi_deg - simulated.truth.psi_deg + 180) % 360 - 180) < 90
    # A map upside down, with all polarities the other way, is as right.
    assert max(is_right.mean(), 1 - is_right.mean()) > 0.9
    assert last.twist_deg is not None
    assert last.rise_A is not None
    assert last.twist_se_deg
    assert last.rise_se_A
    # A quarter of the resolution, 10 Å, at half a box from the middle: 18 steps, at a radius of 46 Å.
    assert abs(last.rise_A - TRUTH.rise_A) < 2.5 / 18
    assert abs(last.twist_deg - TRUTH.twist_deg) < np.rad2deg(2.5 / 46) / 18
    # Of the last iteration: the other half's map explains the segments, far beyond an empty map's 0.
    assert last.held_out_log_likelihood
    assert last.held_out_se
    assert last.held_out_log_likelihood > 3 * last.held_out_se
    assert last.resolution_A < 12
    assert (tmp_path / "run" / "result.json").is_file()


def test_the_rims_of_segments_do_not_stretch_the_helix(tmp_path: Path) -> None:
    # At the true poses. Where the half maps' ends count in full, this rise is 0.5% too long, by 4 standard errors.
    helix = HelicalSymmetry(50.0, 14.0)
    many = ParticleSettings(
        n_filaments=24,
        segments_per_filament=10,
        box_px=48,
        pixel_size_A=4.0,
        inter_box_distance_A=30.0,
        optics=(OpticsSettings(snr=1.0),),
        seed=1,
    )
    made = simulate_particles("builtin", helix, tmp_path / "a", many)
    settings = RefinementSettings(twist_deg=50.0, rise_A=14.0)
    particles = prepare_particles(read_particles(made.files["star"]), settings)
    poses, noise_power = true_poses(made.truth, particles), image_power(particles)
    rows = (poses.select(particles.half_set == half) for half in (1, 2))
    halves = (half_map(accumulate(particles, part, noise_power), None, box_px=48) for part in rows)
    one, two = (Volume(np.asarray(half), particles.pixel_size_A) for half in halves)
    found = update_symmetry(one, two, SymmetryEstimate(helix), settings, outer_radius_A=42.0)
    assert abs(found.symmetry.rise_A - helix.rise_A) < 3 * found.rise_se_A
    assert abs(found.symmetry.twist_deg - helix.twist_deg) < 3 * found.twist_se_deg
    assert found.rise_se_A < 0.002 * helix.rise_A


def test_a_wrong_symmetry_is_doubted(simulated: SimulatedParticles) -> None:
    # One subunit less per turn, searched within 3° and a tenth of the rise: the truth is out of reach.
    wrong = SETTINGS.replaced(twist_deg=-140.6, n_initial_models=1, max_iterations=2)
    *_, last, _ended = refine(read_particles(simulated.files["star"]), wrong)
    assert isinstance(last, IterationEvent)
    assert any("doubt" in warning for warning in last.warnings)


@pytest.mark.parametrize("use_nonuniform", [False, True])
def test_noise_does_not_agree_beyond_the_split(
    simulated: SimulatedParticles, tmp_path: Path, use_nonuniform: bool
) -> None:
    stack = read_particles(simulated.files["star"])
    path = tmp_path / "noise.mrcs"
    with new_image_stack(path, len(stack), 48, 4.0) as images:
        images[:] = np.random.default_rng(5).normal(size=images.shape)
    noise = stack.replace(image_files=(str(path),))
    # The local filter of the references is one for both halves: it must not carry agreement from one to the other.
    settings = SETTINGS.replaced(
        max_iterations=2, low_resolution_join_A=20, use_nonuniform=use_nonuniform, nonuniform_start_res_A=1000
    )
    *_, last, _ended = refine(noise, settings)
    assert isinstance(last, IterationEvent)
    assert last.is_nonuniform == use_nonuniform
    curve = next(c for c in last.fsc if c.label == "median of neighbouring shells")
    # Two shells beyond the split, which the images' mask couples to it.
    beyond = np.array(curve.freq_per_A) > 1 / 20 + 2 / (48 * 4.0)
    assert np.mean(np.array(curve.values)[beyond]) < 0.143


def test_poses_in_frames_are_the_poses_in_images(simulated: SimulatedParticles, prepared: PreparedParticles) -> None:
    table = refined_table(read_particles(simulated.files["star"]), prepared, true_poses(simulated.truth, prepared))
    for name in ("rot_deg", "tilt_deg", "psi_deg"):
        turned = (getattr(table, name) - getattr(simulated.truth, name) + 180) % 360 - 180
        assert np.abs(turned).max() < 1e-6
    for name in ("shift_x_A", "shift_y_A"):
        assert np.allclose(getattr(table, name), getattr(simulated.truth, name), atol=1e-4)


def test_a_model_of_another_pixel_size_is_refused(prepared: PreparedParticles) -> None:
    model = Volume(np.zeros((48, 48, 48), np.float32), 9.0)
    with pytest.raises(HelixLabError, match="volume: found 9 Å per voxel for images of 4 Å"):
        check_given(prepared, SETTINGS, volume=model, mask=None)


def test_segments_of_unknown_filaments_share_no_polarity(
    simulated: SimulatedParticles, prepared: PreparedParticles
) -> None:
    ranges = SearchRange(45.0, 150.0, 1, TRUTH.rise_A / 2, 10.0, 5.0, 3.3)
    reference = jnp.asarray(simulated.reference.data * simulated.signal_scale[0])
    noise, rows = 30.0 * np.ones((1, prepared.last_shell + 1)), prepared.rows_of(1)

    def flipped(particles: PreparedParticles, *, is_coherent: bool) -> list[bool]:
        found = align_images(particles, rows, reference, noise, ranges, shells=(10,), is_coherent=is_coherent)
        return found.poses.best.is_flipped.tolist()

    alone = flipped(prepared, is_coherent=False)
    assert flipped(replace(prepared, has_filaments=False), is_coherent=True) == alone
    # To shell 10 at thirty times the noise some decide otherwise than their filament.
    assert flipped(prepared, is_coherent=True) != alone


def test_poses_of_a_map_that_left_its_place_come_back() -> None:
    rng, n = np.random.default_rng(5), 200
    angles = np.stack([rng.uniform(-180, 180, n), np.full(n, 90.0), np.zeros(n)], axis=1)
    there = Poses(np.arange(n), np.zeros(n, bool), angles, np.zeros((n, 2)), np.ones(n))
    # The map leans by 5° and lies (3, -2, 1) pixels off: its views are the same, its poses others.
    lean, move = rotation_vector_to_matrix(np.deg2rad([[3.0, -4.0, 0.0]]))[0], np.array([3.0, -2.0, 1.0])
    gone = there.matrices @ lean
    left = np.stack(matrix_to_euler(gone.astype(np.float64)), axis=1)
    left[:, 2] = (left[:, 2] + 180) % 360 - 180
    back = replace(there, angles_deg=left, shift_px=(gone @ move)[:, :2]).upright(np.array([3.0, 3.0, 5.0, 10.0]))
    # Exact, but for the float32 of the poses that were turned: 1e-7 of a turn of 5°, or of shifts of 4 pixels.
    assert np.abs(back.angles_deg[:, 1:] - [90.0, 0.0]).max() < 1e-3
    assert np.abs(back.shift_px).max() < 1e-4
    turned = (back.angles_deg[:, 0] - angles[:, 0] + 180) % 360 - 180
    assert np.ptp(turned) < 0.4  # about the axis a map may turn: half the square of 5°
