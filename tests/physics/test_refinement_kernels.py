"""What must hold for the kernels of refinement whatever the map: known poses found, known maps returned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.geometry import HelicalSymmetry
from helixlab.kernels.backproject import average_operators, backproject, empty_accumulator, with_mates
from helixlab.kernels.bands import band_images, flip_bands, frequency_band, image_bands, shift_bands
from helixlab.kernels.likelihood import best_shifts, score_grid
from helixlab.kernels.project import pose_matrices, reference_transform, slices
from helixlab.kernels.reconstruct import inverse_signal_power, mean_weights, reconstruct_volume
from helixlab.kernels.refine_poses import refine_poses
from helixlab.simulate import simulate_helix

BOX, PIXEL_A, R_MAX = 48, 4.0, 20
SYMMETRY = HelicalSymmetry(50.0, 14.0)
EPS = np.finfo(np.float32).eps


@pytest.fixture(scope="module")
def helix():
    made = simulate_helix("builtin", SYMMETRY, box=BOX, pixel_size_A=PIXEL_A, resolution_A=10.0).volume.data
    height = np.abs(np.arange(BOX) - BOX // 2)
    return (made * np.clip((20 - height) / 4, 0, 1)[:, None, None]).astype(np.float32)


@pytest.fixture(scope="module")
def reference(helix):
    return reference_transform(jnp.asarray(helix), r_max=R_MAX)


def seen_with_noise(reference, band, n, power, seed):
    """Images at random poses of both polarities, whose signal has Σ|C·P|² = ``power`` on average."""
    rng = np.random.default_rng(seed)
    pose = np.stack(
        [rng.uniform(0, 360, n), rng.normal(90, 3, n), rng.normal(0, 2, n), *rng.uniform(-2, 2, (2, n))], axis=1
    )
    ctf = jnp.asarray(
        np.sin(0.02 * (1 + 0.3 * rng.uniform(size=(n, 1))) * np.asarray(band.shell) ** 2 + 0.3), jnp.float32
    )
    model = slices(reference, pose_matrices(*pose[:, :3].T), band.k)
    scale = np.sqrt(power / np.mean(np.sum(np.asarray(ctf[:, None] * model) ** 2, axis=(1, 2))))
    moved = shift_bands(scale * ctf[:, None] * model, -pose[:, 3:].astype(np.float32), band)
    noise = rng.normal(scale=np.sqrt(0.5), size=moved.shape)
    is_flipped = rng.integers(0, 2, n).astype(bool)
    x = moved + jnp.asarray(noise, jnp.float32)
    return jnp.where(is_flipped[:, None, None], flip_bands(x), x), ctf, pose, is_flipped, scale


def test_parseval():
    image = np.random.default_rng(0).normal(size=(1, 31, 31)).astype(np.float32)
    band = frequency_band(31, 15, r_min=0)
    x = image_bands(jnp.asarray(image), jnp.ones((31, 31)), jnp.zeros(1), band)
    back = band_images(x, band, box=31)
    both = 2 * float(jnp.sum(x**2)) - float(jnp.sum(x[:, :, 0] ** 2))  # the mean is its own mate
    assert np.isclose(both, float(jnp.sum(back**2)), rtol=100 * EPS)


def test_images_of_a_symmetric_map_repeat(helix, reference):
    band = frequency_band(BOX, 8)
    turned, once = (slices(reference, pose_matrices(*np.array([[r], [90.0], [0.0]])), band.k) for r in (380.0, 20.0))
    assert np.allclose(turned, once, atol=200 * EPS * float(jnp.abs(once).max()))
    # A step of the helix: turned by the twist, its image lies further along −x, where the axis points, by the rise.
    step = slices(reference, pose_matrices(*np.array([[20.0 + SYMMETRY.twist_deg], [90.0], [0.0]])), band.k)
    back, away = (
        shift_bands(step, np.array([[sign * SYMMETRY.rise_A / PIXEL_A, 0.0]], np.float32), band) for sign in (1, -1)
    )
    # The map ends, so that a step changes a tenth of it at either end.
    change = [float(jnp.sum((a - once) ** 2) / jnp.sum(once**2)) for a in (back, away)]
    assert change[0] < 0.2
    assert change[1] > 3 * change[0]


def test_a_map_comes_back_from_its_projections(helix, reference):
    n, rng = 1500, np.random.default_rng(1)
    band = frequency_band(BOX, R_MAX, r_min=0)
    poses = pose_matrices(rng.uniform(0, 360, n), rng.normal(90, 5, n), rng.normal(0, 5, n))
    accumulator = with_mates(
        backproject(empty_accumulator(R_MAX), slices(reference, poses, band.k), jnp.ones((n, len(band.k))), poses, band)
    )
    got = np.asarray(reconstruct_volume(accumulator, box=BOX))
    filtered = np.asarray(reconstruct_volume(accumulator, box=BOX, inverse_signal_power=mean_weights(accumulator)))
    z, y, x = np.indices(helix.shape) - BOX // 2
    middle = (np.abs(z) < 12) & (np.hypot(x, y) < 14)
    assert np.corrcoef(got[middle], helix[middle])[0, 1] > 0.995
    assert abs(np.vdot(got[middle], helix[middle]) / np.vdot(helix[middle], helix[middle]) - 1) < 0.05
    # τ² = 1/weight halves what is known best.
    assert 0.4 < np.vdot(filtered[middle], got[middle]) / np.vdot(got[middle], got[middle]) < 0.7


def test_the_symmetry_completes_a_map_from_few_views(helix, reference):
    n, rng = 10, np.random.default_rng(7)
    band = frequency_band(BOX, R_MAX, r_min=0)
    poses = pose_matrices(rng.uniform(0, 360, n), rng.normal(90, 4, n), rng.normal(0, 4, n))
    views = slices(reference, poses, band.k)
    once = with_mates(backproject(empty_accumulator(R_MAX), views, jnp.ones((n, len(band.k))), poses, band))
    averaged = average_operators(once, SYMMETRY, n_steps=4, box_A=BOX * PIXEL_A)
    z, y, x = np.indices(helix.shape) - BOX // 2
    middle = (np.abs(z) < 6) & (np.hypot(x, y) < 12)
    maps = (np.asarray(reconstruct_volume(a, box=BOX))[middle] for a in (once, averaged))
    alone, completed = (np.corrcoef(m, helix[middle])[0, 1] for m in maps)
    assert completed > 0.97
    assert 1 - completed < (1 - alone) / 3


def test_a_lonely_image_has_no_negative_weight_at_any_twist():
    # Its transform is a ridge, about which waves with phases of their own would ring: the sum of a few images then
    # has weights near zero, and a map made of it breaks.
    band = frequency_band(BOX, R_MAX)
    view, pose = jnp.ones((1, 2, len(band.k))), pose_matrices(np.array([17.0]), np.array([90.0]), np.zeros(1))
    once = with_mates(backproject(empty_accumulator(R_MAX), view, jnp.ones((1, len(band.k))), pose, band))
    for twist_deg in (60.0, 59.98, -100.7):
        total = average_operators(once, HelicalSymmetry(twist_deg, 12.0), n_steps=2, box_A=BOX * PIXEL_A)
        # A Fourier transform in single precision rounds by EPS times the square root of its terms' sum of squares.
        assert float(total[..., 2].min()) > -20 * EPS * float(total[..., 2].max())


def test_signal_power_follows_the_fsc():
    power = np.asarray(inverse_signal_power(jnp.array([3.0, 3.0, 3.0]), jnp.array([1.0, 0.0, -0.2])))
    assert power[0] < 0.01
    assert power[1] == power[2] > 1000


def test_poses_are_found_to_the_cramer_rao_bound(reference):
    n, band = 150, frequency_band(BOX, R_MAX)
    x, ctf, pose, is_flipped, scale = seen_with_noise(reference, band, n, power=200.0, seed=3)
    x = jnp.where(is_flipped[:, None, None], flip_bands(x), x)
    start = pose + np.random.default_rng(4).normal(size=pose.shape) * np.array([3.0, 2.0, 1.0, 0.5, 0.5])
    found = refine_poses(scale * reference, x, ctf, start, band, n_steps=8)
    error = found.pose - pose
    # Σ over five numbers of squared error over covariance is χ² with 5n degrees of freedom: 1 ± 0.05 per number. Linear
    # interpolation adds to it; 20% in the standard deviation is allowed.
    chi2 = np.einsum("ni,nij,nj->n", error, found.information, error) / 5
    assert 0.85 < np.mean(chi2) < 1.2**2
    spread = error / np.sqrt(np.einsum("nii->ni", np.linalg.inv(found.information.astype(float))))
    assert np.all(np.std(spread, axis=0) < 1.2 + 3 / np.sqrt(2 * n))


def test_priors_hold_poses(reference):
    band = frequency_band(BOX, 10)
    x, ctf, pose, _, scale = seen_with_noise(reference, band, 5, power=50.0, seed=5)
    mean = np.array([0.0, 90.0, 0.0, 0.0, 0.0])
    precision = np.array([0.0, 1e6, 1e6, 1e6, 1e6])
    start = pose.copy()
    start[:, 1:] = mean[1:]
    found = refine_poses(scale * reference, x, ctf, start, band, prior_mean=mean, prior_precision=precision)
    assert np.allclose(found.pose[:, 1:], mean[1:], atol=0.05)
    assert not np.allclose(found.pose[:, 0], start[:, 0], atol=0.05)


def test_new_values_compile_nothing(reference):
    band = frequency_band(BOX, 10)
    x, ctf, pose, _, _ = seen_with_noise(reference, band, 9, power=50.0, seed=6)
    chosen = np.zeros((9, 2, 1), int)

    def everything(twist, turn):
        images, moved = x * (1 + turn), pose + turn
        views = slices(reference, pose_matrices(*moved[:4, :3].T), band.k)
        shifts = jnp.full((3, 2), 1.0 + turn)
        score_grid(images, ctf, views, shifts, band)
        best_shifts(images, ctf, views, chosen, shifts, band)
        refine_poses(reference, images, ctf, moved, band, n_steps=1)
        sums = backproject(empty_accumulator(10), images, ctf, pose_matrices(*moved[:, :3].T), band)
        sums = average_operators(with_mates(sums), HelicalSymmetry(twist, 14.0 + turn), n_steps=1, box_A=192.0)
        reconstruct_volume(sums, box=BOX).block_until_ready()

    everything(50.0, 0.0)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    everything(51.0, 0.1)
    assert not compiled
