"""The correlation and its scores against slow evaluations in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.kernels.correlate import (
    correlate_dyad,
    correlate_halves,
    correlate_map,
    line_jet,
    plane_jet,
    read_line,
    read_plane,
)
from helixlab.kernels.lags import LagLimits, fold, refine_screws, score_grid, score_pairs
from helixlab.search.filament import soft_window

N_R, N_PHI, N_Z = 4, 24, 20


@pytest.fixture(scope="module")
def cylinders():
    rng = np.random.default_rng(5)
    return rng.normal(size=(2, N_R, N_PHI, N_Z)).astype(np.float32)


@pytest.fixture(scope="module")
def radius():
    return jnp.arange(1.0, N_R + 1.0)


@pytest.fixture(scope="module")
def window():
    return soft_window(N_Z)


def weighted(cylinder, radius, window):
    data = np.asarray(cylinder, float)
    mean = (data.mean(axis=1) @ window) / window.sum()
    return (data - mean[:, None, None]) * window * np.sqrt(np.asarray(radius))[:, None, None]


def direct_product(first, second, i_phi, i_z):
    """Σ first(φ, z)·second(φ + i_phi, z + i_z), nothing beyond the ends."""
    turned = np.roll(second, -i_phi, axis=1)
    overlap = slice(0, N_Z - i_z) if i_z >= 0 else slice(-i_z, N_Z)
    shifted = slice(i_z, N_Z) if i_z >= 0 else slice(0, N_Z + i_z)
    return float(np.sum(first[:, :, overlap] * turned[:, :, shifted]))


def test_product_and_energies_equal_the_direct_sums(cylinders, radius, window):
    found = correlate_map(cylinders[0], radius, window, jnp.float32(1.5), n_phi=N_PHI)
    c = weighted(cylinders[0], radius, window)
    energy = (c**2).sum(axis=(0, 1))
    scale = energy.sum()
    for i_phi, i_z in [(0, 0), (3, 0), (5, 2), (-7, 11), (23, 19)]:
        phi_deg, z = jnp.float32(i_phi * 360 / N_PHI), jnp.float32(2.0 * i_z)  # two lag samples per voxel
        # float32 transforms: a hundred roundings of the total energy.
        tolerance = 100 * np.finfo(np.float32).eps * scale
        assert float(read_plane(found.product, phi_deg, z)) == pytest.approx(
            direct_product(c, c, i_phi, i_z), abs=tolerance
        )
        amplitude = np.sqrt(energy)
        expected = np.sum(amplitude[: N_Z - i_z] * amplitude[i_z:])
        assert float(read_line(found.energy, z)) == pytest.approx(expected, abs=tolerance)


def test_squared_differences_are_what_they_are_called(cylinders, radius, window):
    # With a flat window: spread − 2·product is Σ (c(z) − c(z + Δz))² over the overlap.
    flat = np.ones(N_Z, np.float32)
    found = correlate_map(cylinders[0], radius, flat, jnp.float32(1.0), n_phi=N_PHI)
    c = weighted(cylinders[0], radius, flat)
    for i_phi, i_z in [(4, 3), (11, 8)]:
        turned = np.roll(c, -i_phi, axis=1)
        expected = np.sum((c[:, :, : N_Z - i_z] - turned[:, :, i_z:]) ** 2)
        z = jnp.float32(2.0 * i_z)
        got = read_line(found.spread, z) - 2 * read_plane(found.product, jnp.float32(i_phi * 360 / N_PHI), z)
        assert float(got) == pytest.approx(expected, rel=1e-4)  # the bound of the window, 1e-3, is not reached


def test_halves_are_symmetrised_and_scaled_to_the_signal(cylinders, radius, window):
    found = correlate_halves(cylinders[0], cylinders[0], radius, window, jnp.float32(1.0), n_phi=N_PHI)
    zero = jnp.float32(0.0)
    assert float(read_plane(found.product, zero, zero) / read_line(found.energy, zero)) == pytest.approx(1.0, abs=1e-5)
    # Identical halves have no noise.
    assert float(jnp.abs(found.noise).max()) < 1e-5 * float(found.product.max())
    found = correlate_halves(cylinders[0], cylinders[1], radius, window, jnp.float32(1.0), n_phi=N_PHI)
    a, b = (weighted(c, radius, window) for c in cylinders)
    expected = (direct_product(a, b, 5, 2) + direct_product(b, a, 5, 2)) / 2
    got = float(read_plane(found.product, jnp.float32(5 * 360 / N_PHI), jnp.float32(4.0)))
    assert got == pytest.approx(expected, abs=1e-4 * np.sum(a**2))


def test_the_noise_term_has_the_variance_of_the_noise(radius, window):
    # Signal and noise of equal power: the correlation of two halves, less the signal's own, against its noise term.
    rng = np.random.default_rng(2)
    signal = rng.normal(size=(N_R, N_PHI, N_Z))
    noisy, own = [], []
    clean = weighted(signal, radius, window)
    lags = [(5, 3), (-4, 6), (9, 2)]
    expected = [direct_product(clean, clean, *lag) for lag in lags]
    for _ in range(60):
        halves = (signal + rng.normal(size=(2, *signal.shape))).astype(np.float32)
        found = correlate_halves(*halves, radius, window, jnp.float32(1.0), n_phi=N_PHI)
        for (i_phi, i_z), value in zip(lags, expected, strict=True):
            phi_deg, z = jnp.float32(i_phi * 360 / N_PHI), jnp.float32(2.0 * i_z)
            noisy.append(float(read_plane(found.product, phi_deg, z)) - value)
            turns = phi_deg + jnp.arange(0.0, 360.0, 15.0)
            own.append(np.mean(np.asarray(read_plane(found.noise, turns, jnp.full_like(turns, z))) ** 2))
    # 180 values: the variance is known to √(2/180) = 10%; three of those.
    assert np.mean(np.square(noisy)) == pytest.approx(np.mean(own), rel=0.32)


def test_dyads_are_read_where_they_lie(radius, window):
    rng = np.random.default_rng(7)
    data = rng.normal(size=(N_R, N_PHI, N_Z))
    # c(φ, z) = c(a − φ, b − z) with a = 2·φ₀ at 6 samples, b = 19: symmetric about the middle of the box.
    mirrored = np.roll(data[:, ::-1, ::-1], 7, axis=1)
    both = (data + mirrored).astype(np.float32)
    plane = correlate_dyad(both, both, radius, window, n_phi=N_PHI)
    peak = np.unravel_index(int(jnp.argmax(plane)), plane.shape)
    assert peak[0] == 2 * (N_Z - 1)
    assert peak[1] == 2 * 6


def test_jets_are_the_derivatives(cylinders, radius, window):
    found = correlate_map(cylinders[0], radius, window, jnp.float32(1.0), n_phi=N_PHI)
    phi, z = jnp.float32(33.3), jnp.float32(9.7)
    jet = plane_jet(found.product, phi, z)
    gradient = jax.grad(lambda p: read_plane(found.product, p[0], p[1]))(jnp.stack([phi, z]))
    hessian = jax.hessian(lambda p: read_plane(found.product, p[0], p[1]))(jnp.stack([phi, z]))
    size = float(jnp.abs(found.product).max())
    np.testing.assert_allclose([jet.d_phi, jet.d_z], gradient, atol=1e-5 * size)
    np.testing.assert_allclose([[jet.d_phi_phi, jet.d_phi_z], [jet.d_phi_z, jet.d_z_z]], hessian, atol=1e-5 * size)
    value, slope, curvature = line_jet(found.energy, z)
    assert float(value) == pytest.approx(float(read_line(found.energy, z)), rel=1e-5)
    first = jax.grad(lambda x: read_line(found.energy, x))
    assert float(slope) == pytest.approx(float(first(z)), rel=1e-4)
    assert float(curvature) == pytest.approx(float(jax.grad(first)(z)), rel=1e-3)


def test_grid_and_list_give_the_same_scores(cylinders, radius, window):
    found = correlate_map(cylinders[0], radius, window, jnp.float32(1.5), n_phi=N_PHI)
    limits = LagLimits(jnp.float32(20.0), jnp.float32(1.0), jnp.float32(3.0))
    twist, rise = jnp.array([-50.0, 10.0, 120.0]), jnp.array([2.0, 5.5])
    grid = score_grid(found, limits, twist, rise, jnp.int32(6))
    t, r = (a.ravel() for a in jnp.meshgrid(twist, rise, indexing="ij"))
    pairs = score_pairs(found, limits, t, r, jnp.int32(6))
    for a, b in zip(grid, pairs, strict=True):
        np.testing.assert_allclose(np.asarray(a).ravel(), b, atol=1e-5)


def test_folding_averages_over_the_turns(cylinders, radius, window):
    found = correlate_map(cylinders[0], radius, window, jnp.float32(1.0), n_phi=N_PHI)
    folded = fold(found, jnp.float32(3.0))
    phi, z = jnp.float32(17.0), jnp.float32(5.3)
    turns = phi + jnp.array([0.0, 120.0, 240.0])
    expected = float(read_plane(found.product, turns, jnp.full(3, z)).mean())
    assert float(read_plane(folded.product, phi, z)) == pytest.approx(expected, abs=1e-5 * float(found.product.max()))


def test_new_values_compile_nothing_new(cylinders, radius, window):
    limits = LagLimits(jnp.float32(20.0), jnp.float32(1.0), jnp.float32(3.0))
    for scale, steps in ((1.5, 6), (1.1, 9)):
        found = correlate_map(cylinders[0], radius, window, jnp.float32(scale), n_phi=N_PHI)
        starts = jnp.full(16, 10.0 * scale), jnp.full(16, 3.0 * scale)
        score_grid(found, limits, jnp.arange(3.0) * scale, jnp.arange(1.0, 3.0) * scale, jnp.int32(steps))
        refine_screws(found, limits, *starts, jnp.float32(steps))
        score_pairs(found, limits, *starts, jnp.int32(steps))
        sizes = [f._cache_size() for f in (correlate_map, score_grid, refine_screws, score_pairs)]
        if steps == 6:
            first = sizes
    assert sizes == first
