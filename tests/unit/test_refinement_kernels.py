"""Blocks and bands: sizes, order and messages."""

import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.kernels._chunked import blocks, map_rows
from helixlab.kernels.bands import frequency_band, largest_radius, normalise_images
from helixlab.kernels.project import project_volume


@pytest.mark.parametrize(("count", "size"), [(1, 4), (4, 4), (9, 4)])
def test_blocks_cover_each_row_once(count, size):
    rows = np.concatenate([r[valid] for r, valid in blocks(count, size)])
    assert np.array_equal(rows, np.arange(count))
    assert all(len(r) == size and r.max() < count for r, _ in blocks(count, size))


def test_trees_are_joined_without_their_padding():
    one, two = map_rows(lambda rows: (rows, {"b": 2 * rows}), 7, 3)
    assert np.array_equal(one, np.arange(7))
    assert np.array_equal(two["b"], 2 * np.arange(7))
    with pytest.raises(HelixLabError, match="found 0 rows"):
        map_rows(lambda rows: rows, 0, 3)


def test_the_number_of_images_at_a_time_changes_nothing():
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(size=(12, 12, 12)).astype(np.float32), 1.0)
    angles = rng.uniform(0, 180, (3, 35))  # a block and three
    together = project_volume(volume, *angles)
    assert np.array_equal(together[33:], project_volume(volume, *angles[:, 33:]))


@pytest.mark.parametrize("box", [16, 17])
def test_a_band_is_half_of_a_disc(box):
    r_max = largest_radius(box)
    band = frequency_band(box, r_max)
    k = {tuple(row) for row in np.asarray(band.k).tolist()}
    grid = np.arange(-r_max, r_max + 1)
    disc = {(x, y) for x in grid for y in grid if 0 < np.floor(np.hypot(x, y) + 0.5) <= r_max}
    assert k | {(-x, -y) for x, y in k} == disc
    assert 2 * len(k) == len(disc)
    assert np.all(np.diff(band.shell) >= 0)


@pytest.mark.parametrize(("r_max", "r_min"), [(8, 1), (3, 4), (3, -1)])
def test_bands_end_before_nyquist(r_max, r_min):
    with pytest.raises(HelixLabError, match="r_max: found shells"):
        frequency_band(16, r_max, r_min)


def test_images_without_background_are_refused():
    noise = np.random.default_rng(1).normal(size=(3, 16, 16)).astype(np.float32)
    normalised = np.asarray(normalise_images(jnp.asarray(7 * noise + 3), 5.0))
    outside = np.hypot(*np.indices((16, 16)) - 8) > 5
    assert np.allclose(normalised[:, outside].mean(axis=1), 0, atol=1e-5)
    assert np.allclose(normalised[:, outside].std(axis=1), 1, atol=1e-5)
    with pytest.raises(HelixLabError, match="no background"):
        normalise_images(jnp.asarray(noise), 12.0)
    noise[1] = 4.0
    with pytest.raises(HelixLabError, match="first: number 2"):
        normalise_images(jnp.asarray(noise), 5.0)
