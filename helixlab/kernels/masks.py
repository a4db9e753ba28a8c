"""Soft masks about the centre of a box: sphere and cylinder, with raised-cosine edges.

A mask is 1 inside, 0 outside, and (1 + cos πt)/2 across its edge, t running from 0 where the given radius ends
to 1 one edge width further out. The centre is voxel ``n // 2`` of each axis, the axis of a cylinder is z. A soft
edge keeps the mask's own transform narrow: a hard one would correlate neighbouring shells of an FSC.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from helixlab.errors import HelixLabError
from helixlab.geometry.grids import axis_coordinates
from helixlab.kernels.fourier import Shape3D


def spherical_mask(shape: Shape3D, radius_px: float, *, edge_px: float = 5.0) -> Float[Array, "z y x"]:
    """A soft sphere.

    Parameters
    ----------
    shape : tuple of int
        (nz, ny, nx).
    radius_px : float
        The mask is 1 up to here; voxels, > 0.
    edge_px : float
        Width of the edge outside the radius; voxels, ≥ 0 (0: a hard edge).

    Returns
    -------
    float32 array, shape (nz, ny, nx)
        Values in [0, 1].

    Raises
    ------
    HelixLabError
        If a length is out of range.

    Examples
    --------
    >>> spherical_mask((1, 1, 9), 2.0, edge_px=2.0)[0, 0].round(3).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    _check_positive("radius_px", radius_px)
    _check_edge(edge_px)
    return _spherical_mask(tuple(shape), jnp.asarray(radius_px, jnp.float32), jnp.asarray(edge_px, jnp.float32))


def cylindrical_mask(
    shape: Shape3D,
    outer_radius_px: float,
    *,
    inner_radius_px: float = 0.0,
    z_fraction: float = 1.0,
    edge_px: float = 5.0,
) -> Float[Array, "z y x"]:
    """A soft cylinder about the helical axis, hollow and clipped along z if asked.

    Parameters
    ----------
    shape : tuple of int
        (nz, ny, nx).
    outer_radius_px : float
        The mask is 1 up to this distance from the axis; voxels, > 0.
    inner_radius_px : float
        The hole: the mask is 1 from here outwards and its edge lies inside; voxels, ≥ 0, 0 for no hole.
    z_fraction : float
        The mask is 1 over this middle part of the box and its edge lies outside; in (0, 1], 1: no clipping.
    edge_px : float
        Width of all edges; voxels, ≥ 0.

    Returns
    -------
    float32 array, shape (nz, ny, nx)
        Values in [0, 1].

    Raises
    ------
    HelixLabError
        If a length or the fraction is out of range, or the inner radius is not below the outer.

    Examples
    --------
    >>> tube = cylindrical_mask((1, 1, 9), 3.0, inner_radius_px=2.0, edge_px=2.0)
    >>> [round(v, 3) for v in tube[0, 0].tolist()]
    [0.5, 1.0, 1.0, 0.5, 0.0, 0.5, 1.0, 1.0, 0.5]
    """
    _check_positive("outer_radius_px", outer_radius_px)
    _check_edge(edge_px)
    if not 0 <= inner_radius_px < outer_radius_px:
        raise HelixLabError(
            f"inner_radius_px: found {inner_radius_px} with an outer radius of {outer_radius_px}; "
            "it must be at least 0 and below the outer radius."
        )
    if not 0 < z_fraction <= 1:
        raise HelixLabError(
            f"z_fraction: found {z_fraction}; it is the part of the box's height that is kept, above 0 and up to 1."
        )
    # A fraction of 1 means the whole box: its edge must not begin inside an even box's first plane.
    half_height_px = z_fraction * shape[0] / 2 if z_fraction < 1 else float(shape[0])
    lengths = (outer_radius_px, inner_radius_px, half_height_px, edge_px)
    return _cylindrical_mask(tuple(shape), *(jnp.asarray(length, jnp.float32) for length in lengths))


@jax.jit
def soft_step(distance: Float[ArrayLike, "*shape"], edge: Float[ArrayLike, ""] | float) -> Float[Array, "*shape"]:
    """1 at distance ≤ 0 (inside), 0 from ``edge`` on, raised cosine between."""
    t = jnp.clip(jnp.asarray(distance, jnp.float32) / jnp.maximum(edge, 1e-6), 0.0, 1.0)
    return 0.5 + 0.5 * jnp.cos(jnp.pi * t)


@partial(jax.jit, static_argnames="shape")
def _spherical_mask(shape: Shape3D, radius: Float[Array, ""], edge: Float[Array, ""]) -> Float[Array, "z y x"]:
    z, y, x = _squared_coordinates(shape)
    return soft_step(jnp.sqrt(z[:, None, None] + y[:, None] + x) - radius, edge)


@partial(jax.jit, static_argnames="shape")
def _cylindrical_mask(
    shape: Shape3D,
    outer: Float[Array, ""],
    inner: Float[Array, ""],
    half_height: Float[Array, ""],
    edge: Float[Array, ""],
) -> Float[Array, "z y x"]:
    z2, y2, x2 = _squared_coordinates(shape)
    radius = jnp.sqrt(y2[:, None] + x2)
    hole = jnp.where(inner > 0, soft_step(inner - radius, edge), 1.0)
    clip = soft_step(jnp.sqrt(z2) - half_height, edge)
    return clip[:, None, None] * (soft_step(radius - outer, edge) * hole)


def _squared_coordinates(shape: Shape3D) -> tuple[Float[Array, "z"], Float[Array, "y"], Float[Array, "x"]]:
    z, y, x = (jnp.asarray(axis_coordinates(n) ** 2, jnp.float32) for n in shape)
    return z, y, x


def _check_positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise HelixLabError(f"{name}: found {value}; it is a positive length in voxels (Å divided by the pixel size).")


def _check_edge(edge_px: float) -> None:
    if not (np.isfinite(edge_px) and edge_px >= 0):
        raise HelixLabError(f"edge_px: found {edge_px}; it is a width in voxels, 0 for a hard edge.")
