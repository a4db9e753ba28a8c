"""Soft masks: where they are 1, where 0, and that they hold the volume that geometry says."""

import numpy as np
import pytest

from helixlab.errors import HelixLabError
from helixlab.kernels import masks
from helixlab.kernels.masks import cylindrical_mask, spherical_mask


@pytest.mark.parametrize("shape", [(24, 24, 24), (25, 25, 25), (20, 31, 26)])
def test_sphere_is_one_inside_zero_outside_and_centred(shape):
    radius, edge = 6.0, 3.0
    mask = np.asarray(spherical_mask(shape, radius, edge_px=edge))
    z, y, x = np.indices(shape) - np.reshape([n // 2 for n in shape], (3, 1, 1, 1))
    r = np.sqrt(z**2 + y**2 + x**2)
    assert (mask[r <= radius] == 1).all()
    assert (mask[r >= radius + edge] == 0).all()
    inside_edge = (r > radius) & (r < radius + edge)
    expected = 0.5 + 0.5 * np.cos(np.pi * (r[inside_edge] - radius) / edge)
    np.testing.assert_allclose(mask[inside_edge], expected, atol=1e-6)  # some eps of float32


def test_cylinder_follows_its_formula():
    shape, outer, inner, fraction, edge = (30, 40, 41), 12.0, 5.0, 0.5, 2.0
    mask = np.asarray(cylindrical_mask(shape, outer, inner_radius_px=inner, z_fraction=fraction, edge_px=edge))
    z, y, x = np.indices(shape) - np.reshape([n // 2 for n in shape], (3, 1, 1, 1))
    r = np.hypot(y, x)

    def step(distance):
        return 0.5 + 0.5 * np.cos(np.pi * np.clip(distance / edge, 0, 1))

    expected = step(r - outer) * step(inner - r) * step(abs(z) - fraction * 30 / 2)
    np.testing.assert_allclose(mask, expected, atol=1e-6)


def test_full_height_cylinder_is_not_clipped_in_even_boxes():
    mask = np.asarray(cylindrical_mask((8, 16, 16), 5.0))
    assert (mask == mask[4]).all()
    assert mask[0, 8, 8] == 1


def test_hard_edges():
    ball = np.asarray(spherical_mask((41, 41, 41), 15.0, edge_px=0.0))
    assert set(np.unique(ball)) == {0.0, 1.0}
    # Voxels within R of the centre: 4/3πR³ up to the surface term, here below 1 %.
    assert ball.sum() == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.01)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: spherical_mask((8, 8, 8), 0.0), "radius_px"),
        (lambda: spherical_mask((8, 8, 8), float("nan")), "radius_px"),
        (lambda: spherical_mask((8, 8, 8), 3.0, edge_px=-1.0), "edge_px"),
        (lambda: cylindrical_mask((8, 8, 8), -3.0), "outer_radius_px"),
        (lambda: cylindrical_mask((8, 8, 8), 3.0, inner_radius_px=3.0), "inner_radius_px"),
        (lambda: cylindrical_mask((8, 8, 8), 3.0, z_fraction=0.0), "z_fraction"),
        (lambda: cylindrical_mask((8, 8, 8), 3.0, z_fraction=1.5), "z_fraction"),
    ],
)
def test_bad_lengths_are_named(call, field):
    with pytest.raises(HelixLabError, match=f"^{field}: found"):
        call()


def test_new_values_do_not_retrace():
    spherical_mask((9, 9, 9), 2.0)
    cylindrical_mask((9, 9, 9), 2.0)
    before = masks._spherical_mask._cache_size(), masks._cylindrical_mask._cache_size()
    spherical_mask((9, 9, 9), 3.5, edge_px=1)
    cylindrical_mask((9, 9, 9), 4, inner_radius_px=1.5, z_fraction=0.3, edge_px=2.5)
    assert (masks._spherical_mask._cache_size(), masks._cylindrical_mask._cache_size()) == before
