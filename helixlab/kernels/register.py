"""A filament laid upon itself: least squares for the axis of a screw, and resampling about that axis."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from helixlab.kernels.interpolate import cubic_weight_slopes, cubic_weights

_MAX_ITERATIONS = 25
_MIN_GAIN = 1e-4
"""The fit ends when a step lowers the misfit by less than this part."""


class ScrewAxis(NamedTuple):
    """A screw about any axis near z; lengths in voxels from the map's origin, angles in radians."""

    x: Float[Array, ""]
    """Where the axis crosses the section z = 0."""
    y: Float[Array, ""]
    lean_x: Float[Array, ""]
    """Slope dx/dz of the axis."""
    lean_y: Float[Array, ""]
    twist: Float[Array, ""]
    rise: Float[Array, ""]
    """Along the axis."""


class AxisFit(NamedTuple):
    """The refined axis and how well the map lies on itself."""

    axis: ScrewAxis
    misfit: Float[Array, ""]
    """Mean squared difference over mean squared density."""
    start_misfit: Float[Array, ""]
    """The same where the fit began."""


def sample_with_slopes(
    coefficients: Float[Array, "z y x"], points: Float[Array, "3 p"]
) -> tuple[Float[Array, "p"], Float[Array, "3 p"]]:
    """Cubic spline values and gradients at points (z, y, x) in voxels of the coefficient grid (periodic)."""
    base = jnp.floor(points)
    fraction = points - base
    tap = jnp.arange(-1, 3)
    index = [(base[a].astype(jnp.int32)[:, None] + tap) % coefficients.shape[a] for a in range(3)]
    patch = coefficients[index[0][:, :, None, None], index[1][:, None, :, None], index[2][:, None, None, :]]
    w = [cubic_weights(fraction[a]) for a in range(3)]
    d = [cubic_weight_slopes(fraction[a]) for a in range(3)]
    by_x = jnp.einsum("pabc,pc->pab", patch, w[2])
    by_yx = jnp.einsum("pab,pb->pa", by_x, w[1])
    slope_x = jnp.einsum("pabc,pc,pb,pa->p", patch, d[2], w[1], w[0])
    slope_y = jnp.einsum("pab,pb,pa->p", by_x, d[1], w[0])
    slope_z = jnp.einsum("pa,pa->p", by_yx, d[0])
    return jnp.einsum("pa,pa->p", by_yx, w[0]), jnp.stack([slope_z, slope_y, slope_x])


def move_along(axis: ScrewAxis, k: Float[Array, ""], xyz: Float[Array, "3 p"]) -> Float[Array, "3 p"]:
    """Points (x, y, z) turned and shifted by the k-th power of the screw (Rodrigues' formula)."""
    direction = jnp.stack([axis.lean_x, axis.lean_y, jnp.ones(())])
    u = direction / jnp.linalg.norm(direction)
    foot = jnp.stack([axis.x, axis.y, jnp.zeros(())])[:, None]
    v = xyz - foot
    cos, sin = jnp.cos(k * axis.twist), jnp.sin(k * axis.twist)
    turned = v * cos + jnp.cross(u[:, None], v, axis=0) * sin + u[:, None] * (u @ v) * (1.0 - cos)
    return foot + turned + (k * axis.rise * u)[:, None]


@jax.jit
def fit_axis(
    coefficients: Float[Array, "z y x"],
    origin: Float[Array, "3"],
    points: Float[Array, "3 p"],
    weights: Float[Array, "p"],
    powers: Float[Array, "k"],
    start: ScrewAxis,
) -> AxisFit:
    """Levenberg–Marquardt for axis and screw: Σ (V(Sᵏ·x) − V(x))² over points and powers.

    Parameters
    ----------
    coefficients
        Splines of the map, one per voxel.
    origin
        Voxel (z, y, x) of the origin.
    points : array, shape (3, p)
        (x, y, z) in voxels from the origin.
    weights : array, shape (p,)
    powers : array, shape (k,)
        The powers of the screw to compare.
    start : ScrewAxis
    """
    top = coefficients.shape[0] - 3.0
    still, _ = sample_with_slopes(coefficients, points[::-1] + origin[:, None])
    scale = jnp.sum(weights * still**2) / jnp.sum(weights)

    def compare(axis: ScrewAxis) -> tuple[Array, Array, Array]:
        """Misfit, and the normal equations of all powers."""

        def one(k: Array) -> tuple[Array, Array, Array, Array]:
            moved = move_along(axis, k, points)
            at = moved[::-1] + origin[:, None]
            inside = (at[0] > 2.0) & (at[0] < top)
            value, slope = sample_with_slopes(coefficients, at)
            w = weights * inside
            residual = value - still
            jacobian = jax.jacfwd(lambda a: move_along(a, k, points))(axis)
            columns = jnp.stack([jnp.sum(slope[::-1] * column, axis=0) for column in jacobian])
            return jnp.sum(w * residual**2), jnp.sum(w), (columns * w) @ residual, (columns * w) @ columns.T

        error, weight, gradient, normal = jax.lax.map(one, powers)
        total = jnp.maximum(weight.sum(), 1.0)
        return error.sum() / total / scale, gradient.sum(0) / total / scale, normal.sum(0) / total / scale

    def goes_on(state: tuple) -> Bool[Array, ""]:
        count, gain = state[0], state[1]
        return (count < _MAX_ITERATIONS) & (gain > _MIN_GAIN)

    def step(state: tuple) -> tuple:
        count, _, axis, error, gradient, normal, damping, trial = state
        new = compare(ScrewAxis(*trial))
        better = new[0] < error
        # A step that fails is tried again with more damping, until the steps themselves have become small.
        size = jnp.max(jnp.abs(trial - axis))
        gain = jnp.where(better, (error - new[0]) / error, jnp.where(size > 1e-4, 1.0, 0.0))
        gain = jnp.where(count == 0, 1.0, gain)
        axis, error, gradient, normal = (
            jnp.where(better, a, b) for a, b in zip((trial, *new), (axis, error, gradient, normal), strict=True)
        )
        damping = jnp.where(better, damping * 0.3, damping * 5.0)
        diagonal = jnp.diag(normal)
        stiff = normal + jnp.diag(damping * diagonal + 1e-12 + 1e-6 * diagonal.max() * (diagonal <= 0))
        return count + 1, gain, axis, error, gradient, normal, damping, axis - jnp.linalg.solve(stiff, gradient)

    first = jnp.stack(list(start))
    start_state = (first, jnp.float32(jnp.inf), jnp.zeros(6), jnp.eye(6), jnp.float32(1e-2 / 0.3), first)
    _, _, axis, error, *_ = jax.lax.while_loop(goes_on, step, (jnp.int32(0), jnp.float32(1.0), *start_state))
    return AxisFit(ScrewAxis(*axis), error, compare(start)[0])


@jax.jit
def straighten(
    coefficients: Float[Array, "fz fy fx"],
    origin: Float[Array, "3"],
    axis: ScrewAxis,
    coordinates_z: Float[Array, "n"],
    coordinates_y: Float[Array, "m"],
    coordinates_x: Float[Array, "l"],
) -> Float[Array, "n m l"]:
    """Sections perpendicular to an axis, in a frame turned by the shortest way from z to the axis.

    ``coefficients`` are splines on a grid twice as fine as the map; ``origin`` is the fine index (z, y, x) of the
    map's origin. Coordinates are voxels from the origin.
    """
    direction = jnp.stack([axis.lean_x, axis.lean_y, jnp.ones(())])
    ux, uy, uz = direction / jnp.linalg.norm(direction)
    f = 1.0 / (1.0 + uz)
    ex = jnp.stack([1.0 - f * ux * ux, -f * ux * uy, -ux])
    ey = jnp.stack([-f * ux * uy, 1.0 - f * uy * uy, -uy])
    ez = jnp.stack([ux, uy, uz])
    foot = jnp.stack([axis.x, axis.y, jnp.zeros(())])[:, None]
    plane_y, plane_x = (a.ravel() for a in jnp.meshgrid(coordinates_y, coordinates_x, indexing="ij"))

    def section(z: Array) -> Array:
        xyz = foot + ex[:, None] * plane_x + ey[:, None] * plane_y + (ez * z)[:, None]
        return _sample(coefficients, 2.0 * xyz[::-1] + origin[:, None])

    sections = jax.lax.map(section, coordinates_z)
    return sections.reshape(len(coordinates_z), len(coordinates_y), len(coordinates_x))


def _sample(coefficients: Float[Array, "z y x"], at: Float[Array, "3 p"]) -> Float[Array, "p"]:
    base = jnp.floor(at)
    tap = jnp.arange(-1, 3)
    index = [(base[a].astype(jnp.int32)[:, None] + tap) % coefficients.shape[a] for a in range(3)]
    w = [cubic_weights(at[a] - base[a]) for a in range(3)]
    patch = coefficients[index[0][:, :, None, None], index[1][:, None, :, None], index[2][:, None, None, :]]
    return jnp.einsum("pabc,pa,pb,pc->p", patch, *w)
