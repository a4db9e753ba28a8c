"""Backprojection: images summed into the transform of a map, and the symmetry of a helix applied to the sum.

An accumulator is a padded transform as :func:`helixlab.kernels.project.reference_transform` makes it, with three
numbers at each step: numerator (real, imaginary) and weight. For whitened images X and CTFs C (noise power 1)

    numerator = Σ Pᵀ(C·X),    weight = Σ Pᵀ(C²),

where P takes a slice (:func:`helixlab.kernels.project.slices`) and Pᵀ is its transpose. numerator / weight is the
least-squares transform where the weight is smooth.

A helix repeats by x → Rz(jθ)x + jΔ·z, which in Fourier space turns planes of constant kz in themselves and multiplies
them by exp(−2πi kz jΔ). On circles, as waves of order m about the axis, all copies become one factor,

    D(m, kz) = Σⱼ exp(−i m jθ − 2πi kz jΔ)    for the numerator, and Σⱼ exp(−i m jθ) for the weight,

so that the cost depends neither on the number of images nor on that of copies.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.kernels._chunked import blocks
from helixlab.kernels._sharded import jit_rows, shard_count
from helixlab.kernels.bands import PAD, Band
from helixlab.kernels.project import conjugate_where, stencil_at, stencil_radius

_BLOCK = 32
"""Images at a time: 100 MB of neighbours in a box of 128."""

_PLANES = 16
"""Planes of constant kz turned at a time; bounds the memory at any box."""

_PER_STEP = 1
"""Angles per step of the grid on the widest circle."""

_ROUNDING = 1e-9
"""Of lengths, relative to each other: ten rises of a tenth of a box are a box."""


def empty_accumulator(r_max: int) -> Float[Array, "z z x 3"]:
    """An accumulator for bands up to the shell ``r_max``, all zero."""
    radius = stencil_radius(r_max)
    return jnp.zeros((2 * radius + 1, 2 * radius + 1, radius + 1, 3), jnp.float32)


def backproject(
    accumulator: Float[Array, "*parts z z x 3"],
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    matrices: Float[Array, "n 3 3"],
    band: Band,
    *,
    weight: Float[Array, "n"] | None = None,
) -> Float[Array, "*parts z z x 3"]:
    """Add whitened, centred images at their poses.

    Parameters
    ----------
    accumulator : float32 array
        From :func:`empty_accumulator` or an earlier call; its memory is used for the result. Where images are spread
        over D devices it has D parts, shape (D, z, z, x, 3), spread alike; their sum is the accumulator.
    x, ctf : float32 arrays, shapes (n, 2, f) and (n, f)
        Divided by their noise's amplitude, moved by their shifts.
    matrices : float32 array, shape (n, 3, 3)
        From :func:`helixlab.kernels.project.pose_matrices`.
    band : Band
        Up to the accumulator's r_max.
    weight : float32 array, shape (n,), optional
        How much each image counts. Default 1.

    Returns
    -------
    float32 array
        The new accumulator, without Friedel mates: add them with :func:`with_mates` when all images are in.
    """
    weight = jnp.ones(len(x), jnp.float32) if weight is None else weight
    for rows, is_valid in blocks(len(x) // shard_count(x), _BLOCK):
        accumulator = _scatter(accumulator, x, ctf, matrices, weight, rows, is_valid, band.k)
    return accumulator


@jax.jit
def with_mates(accumulator: Float[Array, "z z x 3"]) -> Float[Array, "z z x 3"]:
    """Complete the plane kx = 0, which holds both mates of each pair, from which an image gave only one."""
    plane = accumulator[:, :, 0]
    return accumulator.at[:, :, 0].add(plane[::-1, ::-1] * jnp.array([1.0, -1.0, 1.0], plane.dtype))


def average_operators(
    accumulator: Float[Array, "z z x 3"],
    symmetry: HelicalSymmetry,
    *,
    n_steps: int,
    box_A: float,
) -> Float[Array, "z z x 3"]:
    """Sum an accumulator over the operators of a helix and its point group.

    Parameters
    ----------
    accumulator : float32 array
        From :func:`with_mates`.
    symmetry : HelicalSymmetry
        Its dyads, if any, pass through the origin along x.
    n_steps : int
        Steps of the helix each way, ≥ 0: 2·n_steps + 1 copies (RELION's and CryoSPARC's symmetry order), times
        those of the point group.
    box_A : float
        Edge of the (unpadded) box in Å.

    Returns
    -------
    float32 array
        As if every image had been added once at each of its equivalent poses.

    Raises
    ------
    HelixLabError
        If ``n_steps`` is negative or the copies reach beyond the box.

    Notes
    -----
    Planes are read on circles and written back, linearly each time: a density at distance x from the axis is
    weakened by sinc⁴ of x over twice the box, 1% at a fourteenth of the box, 4% at a seventh.
    """
    steps = np.arange(-n_steps, n_steps + 1)
    if n_steps < 0 or n_steps * symmetry.rise_A > box_A / 2 * (1 + _ROUNDING):
        raise HelixLabError(
            f"n_steps: found {n_steps}, a shift of {n_steps * symmetry.rise_A:g} Å; copies are counted each way, 0 or "
            f"more, and must stay within half a box, {box_A / 2:g} Å."
        )
    radius = accumulator.shape[2] - 1
    # Turns of the point group are whole steps: between two, where there is no weight, some below zero would appear.
    unit = math.lcm(4, symmetry.cyclic_order)
    n_phi = unit * math.ceil(_PER_STEP * 2 * np.pi * radius / unit)
    # Whole numbers: of np.fft.fftfreq(196, 1 / 196) no multiple of 3 is divisible by 3.
    order = np.fft.ifftshift(np.arange(n_phi) - n_phi // 2)
    # Between two angles linearly: weights stay positive, where a wave's own phase would ring about a lonely image.
    whole, part = np.divmod(symmetry.twist_deg * steps * n_phi / 360.0, 1.0)
    by_whole, by_one = (np.exp(-2j * np.pi * (np.outer(order, n) % n_phi) / n_phi) for n in (whole, 1.0))
    turn = by_whole * (1 - part + part * by_one)
    height = np.outer(steps, np.arange(radius + 1)) * (symmetry.rise_A / (PAD * box_A))
    in_group = np.where(order % symmetry.cyclic_order == 0, symmetry.cyclic_order, 0)
    numerator_factor = in_group[:, None] * (turn @ np.exp(-2j * np.pi * (height % 1.0)))
    weight_factor = in_group * turn.sum(axis=1).real
    factors = jnp.asarray(numerator_factor, jnp.complex64), jnp.asarray(weight_factor, jnp.float32)
    return _average_planes(accumulator, *factors, is_dihedral=symmetry.is_dihedral)


# --- private kernels ----------------------------------------------------------------------------


@jit_rows("x", "accumulator", "ctf", "matrices", "weight", donate=("accumulator",))
def _scatter(
    accumulator: Float[Array, "*part z z x 3"],
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    matrices: Float[Array, "n 3 3"],
    weight: Float[Array, "n"],
    rows: Int[Array, "m"],
    is_valid: Bool[Array, "m"],
    k: Float[Array, "f 2"],
) -> Float[Array, "*part z z x 3"]:
    side = accumulator.shape[-3]

    def contributions(
        x: Float[Array, "2 f"], ctf: Float[Array, "f"], matrix: Float[Array, "3 3"], weight: Float[Array, ""]
    ) -> tuple[Int[Array, "8 f"], Float[Array, "8 f 3"]]:
        stencil = stencil_at(matrix, k, side)
        pair = conjugate_where(stencil.is_mate, (x * ctf).T)
        value = weight * jnp.concatenate([pair, (ctf**2)[:, None]], axis=1)
        index, share = (jnp.stack(parts) for parts in zip(*stencil.corners(), strict=True))
        return index, share[..., None] * value

    index, value = jax.vmap(contributions)(x[rows], ctf[rows], matrices[rows], weight[rows] * is_valid)
    flat = accumulator.reshape(-1, 3)
    flat = flat.at[index.reshape(-1)].add(value.reshape(-1, 3), mode="promise_in_bounds")
    return flat.reshape(accumulator.shape)


@partial(jax.jit, static_argnames="is_dihedral")
def _average_planes(
    accumulator: Float[Array, "z z x 3"],
    numerator_factor: Complex[Array, "phi h"],
    weight_factor: Float[Array, "phi"],
    *,
    is_dihedral: bool,
) -> Float[Array, "z z x 3"]:
    radius, n_phi = accumulator.shape[2] - 1, len(weight_factor)
    n_blocks = -(-(radius + 1) // _PLANES)
    to_circles = _circle_stencil(radius, n_phi)
    to_plane = _plane_stencil(radius, n_phi)

    def average(first: Int[Array, ""]) -> tuple[Float[Array, "h z x 3"], Float[Array, "h z x 3"]]:
        # Planes beyond the last are those of the last again, and written over one another.
        up = jnp.minimum(first * _PLANES + jnp.arange(_PLANES), radius)
        circles = [_read(accumulator[radius + sign * up], to_circles) for sign in (1, -1)]
        above, below = (c.reshape(radius + 1, n_phi // 2, _PLANES, 3) for c in circles)
        # Half a turn on, a plane holds the conjugate of what the opposite plane holds here.
        full = jnp.concatenate([above, below * jnp.array([1.0, -1.0, 1.0])], axis=1)
        waves = jnp.fft.fft(jax.lax.complex(full[..., 0], full[..., 1]), axis=1) * numerator_factor[:, up]
        numerator = jnp.fft.ifft(waves, axis=1)
        weight = jnp.fft.irfft(
            jnp.fft.rfft(full[..., 2], axis=1) * weight_factor[: n_phi // 2 + 1, None], n=n_phi, axis=1
        )
        full = jnp.stack([numerator.real, numerator.imag, weight], axis=-1)
        halves = full, jnp.roll(full, -(n_phi // 2), axis=1) * jnp.array([1.0, -1.0, 1.0])
        above, below = (_write(half[:, : n_phi // 2 + 1], to_plane) for half in halves)
        return above, below

    above, below = jax.lax.map(average, jnp.arange(n_blocks))
    above, below = (part.reshape(-1, *part.shape[2:])[: radius + 1] for part in (above, below))
    total = jnp.concatenate([below[:0:-1], above])
    # A half turn about x: (kx, ky, kz) → (kx, −ky, −kz).
    return total + total[::-1, ::-1] if is_dihedral else total


def _circle_stencil(radius: int, n_phi: int) -> tuple[Int[np.ndarray, "4 p"], Float[np.ndarray, "4 p"]]:
    """Neighbours, in a flattened half plane, of the points of the half circles −90° ≤ φ < 90°."""
    phi = (np.arange(n_phi // 2) - n_phi // 4) * (2 * np.pi / n_phi)
    r = np.arange(radius + 1)[:, None]
    y, x = (r * np.sin(phi)).ravel() + radius, np.maximum(r * np.cos(phi), 0.0).ravel()
    return _bilinear(y, x, 2 * radius + 1, radius + 1)


def _plane_stencil(radius: int, n_phi: int) -> tuple[Int[np.ndarray, "4 p"], Float[np.ndarray, "4 p"]]:
    """Neighbours, among the circles, of the points of a half plane; points beyond the last circle get no weight."""
    y, x = (a.ravel() for a in np.meshgrid(np.arange(-radius, radius + 1), np.arange(radius + 1), indexing="ij"))
    r = np.hypot(y, x)
    phi = np.arctan2(y, x) * (n_phi / (2 * np.pi)) + n_phi // 4
    index, weight = _bilinear(np.minimum(r, radius), phi, radius + 1, n_phi // 2 + 1)
    return index, np.where(r <= radius, weight, 0.0).astype(np.float32)


def _bilinear(
    row: Float[np.ndarray, "p"], column: Float[np.ndarray, "p"], n_rows: int, n_columns: int
) -> tuple[Int[np.ndarray, "4 p"], Float[np.ndarray, "4 p"]]:
    first_row = np.clip(np.floor(row), 0, n_rows - 2).astype(np.int32)
    first_column = np.clip(np.floor(column), 0, n_columns - 2).astype(np.int32)
    f, g = row - first_row, column - first_column
    corner = first_row * n_columns + first_column
    index = np.stack([corner, corner + 1, corner + n_columns, corner + n_columns + 1])
    return index, np.stack([(1 - f) * (1 - g), (1 - f) * g, f * (1 - g), f * g]).astype(np.float32)


def _read(
    planes: Float[Array, "h y x c"], stencil: tuple[Int[np.ndarray, "4 p"], Float[np.ndarray, "4 p"]]
) -> Float[Array, "p hc"]:
    """The same points of all planes, which lie innermost: each neighbour is one run of memory."""
    columns = jnp.moveaxis(planes, 0, 2)
    columns = columns.reshape(-1, planes.shape[0] * planes.shape[3])
    return _weighted_rows(columns, stencil)


def _write(
    circles: Float[Array, "r phi h c"], stencil: tuple[Int[np.ndarray, "4 p"], Float[np.ndarray, "4 p"]]
) -> Float[Array, "h y x c"]:
    n_planes = circles.shape[2]
    radius = circles.shape[0] - 1
    columns = _weighted_rows(circles.reshape(-1, n_planes * circles.shape[3]), stencil)
    return jnp.moveaxis(columns.reshape(2 * radius + 1, radius + 1, n_planes, -1), 2, 0)


def _weighted_rows(
    rows: Float[Array, "n c"], stencil: tuple[Int[np.ndarray, "4 p"], Float[np.ndarray, "4 p"]]
) -> Float[Array, "p c"]:
    total = jnp.float32(0)
    for index, weight in zip(*stencil, strict=True):
        total += jnp.asarray(weight)[:, None] * rows.at[jnp.asarray(index)].get(mode="promise_in_bounds")
    return total
