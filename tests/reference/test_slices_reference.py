"""The kernels of refinement against slow evaluations in float64: sums term by term."""

import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.geometry.pose import euler_to_matrix
from helixlab.kernels.backproject import average_operators, backproject, empty_accumulator, with_mates
from helixlab.kernels.bands import (
    flip_bands,
    frame_shifts,
    frequency_band,
    image_bands,
    largest_radius,
    narrow_band,
    shift_bands,
)
from helixlab.kernels.likelihood import best_shifts, score_grid
from helixlab.kernels.project import pose_matrices, project_volume, reference_transform, slices
from helixlab.kernels.reconstruct import reconstruct_volume

EPS = np.finfo(np.float32).eps
SIGMA_PX = 1.6
"""Width of the phantom's blobs: their transform is e⁻¹² at Nyquist, so that sampling loses nothing."""


class Blobs:
    """Gaussians, whose map, projections and transform are known at every point."""

    def __init__(self, count, reach_px, seed):
        rng = np.random.default_rng(seed)
        self.centres = rng.uniform(-1, 1, (count, 3)) * reach_px / np.sqrt(3)  # x, y, z
        self.weights = rng.uniform(1, 2, count)

    def volume(self, box):
        z, y, x = np.indices(3 * (box,), float) - box // 2
        blobs = (
            w * np.exp(-((x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2) / (2 * SIGMA_PX**2))
            for w, c in zip(self.weights, self.centres, strict=True)
        )
        return sum(blobs).astype(np.float32)

    def projection(self, box, matrix, shift_px):
        y, x = np.indices((box, box), float) - box // 2
        total = np.zeros((box, box))
        for weight, centre in zip(self.weights, self.centres, strict=True):
            cx, cy = (matrix @ centre)[:2] - shift_px
            blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * SIGMA_PX**2))
            total += weight * np.sqrt(2 * np.pi) * SIGMA_PX * blob
        return total


def random_poses(n, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(-180, 180, n), rng.uniform(0, 180, n), rng.uniform(-180, 180, n)


def ghost(reach_px, box, power):
    """The strongest copy of a density that interpolation in the padded transform makes, as a part of it."""
    t = reach_px / (2 * box)
    return (np.sinc(1 - t) / np.sinc(t)) ** power


@pytest.mark.parametrize("box", [32, 33])
def test_projections_of_blobs(box):
    reach, n = 8.0, 5
    blobs, (rot, tilt, psi) = Blobs(6, reach, 1), random_poses(n, 2)
    shift = np.random.default_rng(3).uniform(-2, 2, (n, 2))
    images = project_volume(Volume(blobs.volume(box), 1.5), rot, tilt, psi, shift_A=1.5 * shift)
    expected = [blobs.projection(box, m, s) for m, s in zip(euler_to_matrix(rot, tilt, psi), shift, strict=True)]
    # A ghost per axis, each of a density at most the image's.
    assert np.abs(images - expected).max() < 3 * ghost(reach, box, 2) * np.max(expected)


@pytest.mark.parametrize("box", [32, 33])
def test_images_in_their_frames_are_slices_without_psi(box):
    reach, n = 7.0, 4
    blobs, (rot, tilt, psi) = Blobs(5, reach, 4), random_poses(n, 5)
    shift = np.random.default_rng(6).uniform(-2, 2, (n, 2))
    images = np.array(
        [blobs.projection(box, m, s) for m, s in zip(euler_to_matrix(rot, tilt, psi), shift, strict=True)], np.float32
    )
    band = frequency_band(box, largest_radius(box))
    turns = jnp.asarray(psi, jnp.float32)
    x = image_bands(jnp.asarray(images), jnp.ones((box, box)), turns, band)
    x = shift_bands(x, frame_shifts(jnp.asarray(shift, jnp.float32), turns), band)
    reference = reference_transform(jnp.asarray(blobs.volume(box)), r_max=largest_radius(box))
    seen = slices(reference, pose_matrices(rot, tilt, 0 * psi), band.k)
    size = np.sqrt(np.mean(np.asarray(seen) ** 2))
    assert np.sqrt(np.mean(np.asarray(x - seen) ** 2)) < 2 * ghost(reach, box, 2) * size


def test_an_image_at_its_own_frequencies_is_its_transform():
    box = 20
    image = np.random.default_rng(0).normal(size=(1, box, box)).astype(np.float32)
    image *= np.hypot(*np.indices((box, box)) - box // 2) < box // 4
    band = frequency_band(box, 6)
    got = np.asarray(image_bands(jnp.asarray(image), jnp.ones((box, box)), jnp.zeros(1), band))[0]
    y, x = np.indices((box, box)) - box // 2
    expected = np.array([np.sum(image[0] * np.exp(-2j * np.pi * (k[0] * x + k[1] * y) / box)) for k in band.k]) / box
    # Whole frequencies lie on the padded grid; a spline's values there still mix neighbours: its ghosts, sinc⁴.
    assert np.abs(got[0] + 1j * got[1] - expected).max() < 4 * ghost(box / 4, box, 4) * np.abs(expected).max()


@pytest.mark.parametrize(("box", "r_max"), [(24, 11), (25, 12), (24, 5)])
def test_slices_look_up_eight_neighbours(box, r_max):
    rng = np.random.default_rng(7)
    band, matrices = frequency_band(box, r_max), euler_to_matrix(*random_poses(3, 8))
    radius = 2 * r_max + 1
    # A whole transform with Friedel's symmetry, of which the reference is the half with kx ≥ 0.
    whole = rng.normal(size=3 * (2 * radius + 1,)) + 1j * rng.normal(size=3 * (2 * radius + 1,))
    whole = whole + np.conj(whole[::-1, ::-1, ::-1])
    half = np.stack([whole[:, :, radius:].real, whole[:, :, radius:].imag], axis=-1)
    got = np.asarray(slices(jnp.asarray(half, jnp.float32), jnp.asarray(matrices, jnp.float32), band.k))
    for m, matrix in enumerate(matrices):
        point = 2 * np.asarray(band.k, float) @ matrix[:2] + radius
        corner = np.floor(point).astype(int)
        fraction = point - corner
        value = np.zeros(len(point), complex)
        for step in np.indices((2, 2, 2)).reshape(3, 8).T:
            x, y, z = (corner + step).T
            value += np.prod(np.where(step, fraction, 1 - fraction), axis=1) * whole[z, y, x]
        # Positions up to 2R are rounded in float32: neighbours differ by values of order 1.
        assert np.abs(got[m, 0] + 1j * got[m, 1] - value).max() < 40 * radius * EPS * np.abs(whole).max()


@pytest.mark.parametrize(("box", "r_max"), [(24, 11), (25, 12), (24, 5)])
def test_backprojection_is_the_transpose_of_projection(box, r_max):
    rng, n = np.random.default_rng(9), 5
    band, matrices = frequency_band(box, r_max), pose_matrices(*random_poses(n, 10))
    empty = empty_accumulator(r_max)
    volume = rng.normal(size=(*empty.shape[:3], 2)).astype(np.float32)
    images = rng.normal(size=(n, 2, len(band.k))).astype(np.float32)
    ctf = rng.uniform(0.5, 1, (n, len(band.k))).astype(np.float32)
    seen = np.asarray(slices(jnp.asarray(volume), matrices, band.k), float) * ctf[:, None]
    got = np.asarray(backproject(empty, jnp.asarray(images), jnp.asarray(ctf), matrices, band), float)
    scale = np.linalg.norm(seen) * np.linalg.norm(images)
    assert abs(np.vdot(seen, images) - np.vdot(volume, got[..., :2])) < 1e-5 * scale
    # Every frequency's weights add up to one.
    assert np.isclose(got[..., 2].sum(), np.sum(ctf.astype(float) ** 2), rtol=1e-5)


def test_images_count_as_their_weights_say():
    band, matrices = frequency_band(16, 6), pose_matrices(*random_poses(3, 11))
    x = jnp.asarray(np.random.default_rng(12).normal(size=(3, 2, len(band.k))), jnp.float32)
    ctf = jnp.ones((3, len(band.k)))
    weighted = backproject(empty_accumulator(6), x, ctf, matrices, band, weight=jnp.array([2.0, 0.0, 1.0]))
    twice = [0, 0, 2]
    counted = backproject(empty_accumulator(6), x[jnp.array(twice)], ctf, matrices[jnp.array(twice)], band)
    assert np.allclose(weighted, counted, atol=20 * EPS * float(jnp.abs(counted).max()))


# On the circles of 15 shells lie 196 angles: numpy.fft.fftfreq(196, 1 / 196) holds hardly a whole number.
@pytest.mark.parametrize(
    ("point_group", "r_max"), [("C1", 20), ("C2", 20), ("C2", 15), ("C3", 20), ("D1", 20), ("D2", 20)]
)
def test_operators_on_the_sum_are_copies_of_every_image(point_group, r_max):
    box, pixel_A, n_steps, reach = 48, 2.0, 2, 6.0
    symmetry = HelicalSymmetry(40.0, 6.0, point_group)
    blobs, (rot, _, psi) = Blobs(5, reach, 13), random_poses(60, 14)
    # Everywhere in the box the sum must have a weight, for the two to be compared: poses over the whole sphere.
    tilt = np.rad2deg(np.arccos(np.random.default_rng(15).uniform(-1, 1, 60)))
    band, matrices = frequency_band(box, r_max, r_min=0), euler_to_matrix(rot, tilt, psi)
    reference = reference_transform(jnp.asarray(blobs.volume(box)), r_max=r_max)
    poses = jnp.asarray(matrices, jnp.float32)
    images = slices(reference, poses, band.k)
    ctf = jnp.ones((60, len(band.k)))
    once = with_mates(backproject(empty_accumulator(r_max), images, ctf, poses, band))
    got = average_operators(once, symmetry, n_steps=n_steps, box_A=box * pixel_A)
    each = empty_accumulator(r_max)
    rotations, shifts_A = symmetry.operators(n_steps * symmetry.rise_A)
    for rotation, shift_A in zip(rotations, shifts_A, strict=True):
        # A density with the symmetry is seen the same after x → Rx + t: the same image, posed A·R, moved by −A·t.
        moved = shift_bands(images, jnp.asarray(-(matrices @ shift_A)[:, :2] / pixel_A, jnp.float32), band)
        each = backproject(each, moved, ctf, jnp.asarray(matrices @ rotation, jnp.float32), band)
    each = with_mates(each)
    assert np.isclose(float(got[..., 2].sum()), float(each[..., 2].sum()), rtol=0.01)  # the rim is lost on circles
    first, second = (np.asarray(reconstruct_volume(a, box=box)) for a in (got, each))
    z, y, x = np.indices(3 * (box,)) - box // 2
    inside = (np.hypot(x, y) < reach + 4) & (abs(z) < 15)
    # Two more interpolations, each of which averages neighbours that hold independent samples.
    assert np.corrcoef(first[inside], second[inside])[0, 1] > 0.98
    assert abs(np.vdot(first[inside], second[inside]) / np.vdot(second[inside], second[inside]) - 1) < 0.05


@pytest.mark.parametrize("point_group", ["C3", "C5", "C6"])
def test_weights_stay_positive_between_the_turns_of_a_point_group(point_group):
    # Three images leave most of a circle empty; below zero only float32 rounding of the largest weight.
    band, (rot, tilt, psi) = frequency_band(32, 15), random_poses(3, 16)
    poses = jnp.asarray(euler_to_matrix(rot, tilt, psi), jnp.float32)
    ctf = jnp.ones((3, len(band.k)))
    once = with_mates(backproject(empty_accumulator(15), jnp.zeros((3, 2, len(band.k))), ctf, poses, band))
    got = average_operators(once, HelicalSymmetry(22.0, 5.0, point_group), n_steps=0, box_A=64.0)
    assert float(got[..., 2].min()) > -1e-6 * float(got[..., 2].max())


def test_copies_may_fill_the_box():
    # Ten times 19.293 is more than half of twenty times it, by a rounding error.
    average_operators(empty_accumulator(3), HelicalSymmetry(20.0, 19.293), n_steps=10, box_A=385.85999999999996)


@pytest.mark.usefixtures("unchecked_types")
def test_what_cannot_be_done_is_said():
    with pytest.raises(HelixLabError, match="n_steps: found 9"):
        average_operators(empty_accumulator(3), HelicalSymmetry(20.0, 5.0), n_steps=9, box_A=64.0)
    with pytest.raises(HelixLabError, match="box: found 7"):
        reconstruct_volume(empty_accumulator(5), box=7)
    with pytest.raises(HelixLabError, match="inverse_signal_power: found 2"):
        reconstruct_volume(empty_accumulator(5), box=16, inverse_signal_power=jnp.ones(2))
    with pytest.raises(HelixLabError, match="a cube"):
        project_volume(Volume(np.zeros((4, 4, 6), np.float32), 1.0), *np.zeros((3, 1)))


@pytest.fixture(scope="module")
def scoring():
    """Images, CTFs, slices and shifts, and the log posteriors summed term by term in float64, both ways up."""
    rng, box = np.random.default_rng(16), 16
    band = frequency_band(box, 6)
    n, o, f = 5, 7, len(band.k)
    x, p = rng.normal(size=(n, 2, f)), rng.normal(size=(o, 2, f))
    ctf, shifts = rng.uniform(-1, 1, (n, f)), rng.uniform(-3, 3, (3, 2))
    prior, prior_shift = rng.normal(size=o), rng.normal(size=3)
    k = np.asarray(band.k, float)
    model = ctf[:, None] * (p[:, 0] + 1j * p[:, 1])

    def log_posteriors(image, shifts):
        moved = image[:, None] * np.exp(-2j * np.pi * (shifts @ k.T) / box)
        log_p = -np.sum(np.abs(moved[:, :, None] - model[:, None]) ** 2, axis=-1)
        return log_p + np.sum(np.abs(image) ** 2, axis=1)[:, None, None] + prior_shift[:, None] + prior

    inputs = [jnp.asarray(a, jnp.float32) for a in (x, ctf, p, shifts, prior, prior_shift)]
    return band, inputs, log_posteriors


def test_scores_are_log_posteriors_summed_over_shifts(scoring):
    band, (x, ctf, p, shifts, prior, prior_shift), log_posteriors = scoring
    got = score_grid(x, ctf, p, shifts, band, log_prior=prior, log_prior_shift=prior_shift)
    image, moves = np.asarray(x[:, 0] + 1j * x[:, 1], complex), np.asarray(shifts, float)
    # Turned by 180° an image has the conjugate transform, and meets the opposite shifts.
    for turned, log_p in enumerate((log_posteriors(image, moves), log_posteriors(np.conj(image), -moves))):
        assert np.allclose(
            got[:, turned], np.logaddexp.reduce(log_p, axis=1), atol=20 * EPS * np.abs(log_p).max() + 1e-4
        )


def test_the_best_shifts_of_chosen_slices(scoring):
    band, (x, ctf, p, shifts, _, prior_shift), log_posteriors = scoring
    chosen = np.random.default_rng(17).integers(0, len(p), (len(x), 2, 4))
    got = best_shifts(x, ctf, p, chosen, shifts, band, log_prior_shift=prior_shift)
    image, moves = np.asarray(x[:, 0] + 1j * x[:, 1], complex), np.asarray(shifts, float)
    for turned, seen in enumerate((image, np.conj(image))):
        best = log_posteriors(seen, moves).argmax(axis=1)
        assert np.array_equal(got[:, turned], np.take_along_axis(best, chosen[:, turned], axis=1))
    with pytest.raises(HelixLabError, match="chosen: found numbers 7 to 7; there are 7"):
        best_shifts(x[:1], ctf[:1], p, np.full((1, 2, 1), 7), shifts, band)


def test_a_narrow_band_is_the_beginning_of_a_wide_one():
    wide = frequency_band(20, 9)
    narrow, alone = narrow_band(wide, 4), frequency_band(20, 4)
    assert np.array_equal(narrow.k, alone.k)
    assert np.array_equal(narrow.shell, alone.shell)


def test_the_other_polarity_is_the_conjugate():
    box, (rot, tilt, psi) = 16, random_poses(3, 17)
    band = frequency_band(box, 7)
    reference = reference_transform(jnp.asarray(Blobs(4, 4.0, 18).volume(box)), r_max=7)
    one, other = (slices(reference, pose_matrices(rot, tilt, p), band.k) for p in (psi, psi + 180))
    # A point's coordinates in the padded transform are rounded in float32.
    assert np.allclose(flip_bands(one), other, atol=100 * EPS * float(jnp.abs(one).max()))
