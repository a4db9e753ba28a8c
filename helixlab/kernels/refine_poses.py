"""Poses of single images to the last digit: damped Gauss–Newton steps in three angles and two shifts.

The log posterior is that of :mod:`helixlab.kernels.likelihood`, −Σ|X·e^{−2πi k·s} − C·P|², with Gaussian priors. Its
curvature, 2·Σ Re(J̄ᵀJ) with J the derivatives of the model, is the Fisher information: the inverse is the smallest
covariance that any unbiased estimate can have (Cramér and Rao). Slopes by the angles are differences of slices: four
slices cost a third of one slice with the slopes of its interpolation, whose neighbours are looked up one by one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from helixlab.kernels._chunked import map_rows
from helixlab.kernels._sharded import jit_rows, shard_count, spread_like
from helixlab.kernels.bands import Band, shift_bands
from helixlab.kernels.project import slices

_BLOCK = 64
"""Images at a time."""

_TURN_DEG = 0.1
"""Turn by which slopes are measured: at 50 cycles per box, a sixth of a step of the padded transform."""

_FIRST_DAMPING = 1e-2
"""Added to the curvature's diagonal, as a part of it: small, as the search ends within reach of the maximum."""

_EASE, _TIGHTEN = 0.2, 8.0
"""Factors of the damping after a step that raised the score, and after one that did not and was taken back."""


class RefinedPoses(NamedTuple):
    """Where the steps ended."""

    pose: Float[Array | np.ndarray, "n 5"]
    """Rot, tilt, psi in degrees, shift x, y in pixels."""
    score: Float[Array | np.ndarray, "n"]
    """Log posterior there, without the term Σ|X|²."""
    information: Float[Array | np.ndarray, "n 5 5"]
    """Curvature there, prior included; its inverse is the poses' covariance."""


def refine_poses(
    reference: Float[Array, "z z x 2"],
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    pose: Float[np.ndarray, "n 5"],
    band: Band,
    *,
    prior_mean: Float[np.ndarray, "5"] | None = None,
    prior_precision: Float[np.ndarray, "5"] | None = None,
    n_steps: int = 6,
) -> RefinedPoses:
    """Climb from each pose to the nearest maximum of the posterior.

    Parameters
    ----------
    reference : float32 array
        From :func:`helixlab.kernels.project.reference_transform`, up to the band's r_max.
    x, ctf : float32 arrays, shapes (n, 2, f) and (n, f)
        Whitened images in their frames, and their CTFs.
    pose : float array, shape (n, 5)
        Starts: rot, tilt, psi in degrees, shift x, y in pixels, within about a quarter of the smallest period.
    band : Band
        Of ``x``, which may be spread over devices (:mod:`helixlab.kernels._sharded`).
    prior_mean, prior_precision : float arrays, shape (5,), optional
        Of the pose's numbers; precision 0 (the default): no prior. 1/variance, in the units of the pose.
    n_steps : int
        Steps tried, ≥ 0; each costs four slices.

    Returns
    -------
    RefinedPoses
        Never a lower score than the start's.
    """
    zero = np.zeros(5, np.float32)
    mean = zero if prior_mean is None else np.asarray(prior_mean, np.float32)
    precision = zero if prior_precision is None else np.asarray(prior_precision, np.float32)
    shards = shard_count(x)
    starts = np.asarray(pose, np.float32).reshape(shards, -1, 5)
    block = min(_BLOCK, len(x) // shards)

    def climb(rows: Int[np.ndarray, "m"]) -> RefinedPoses:
        def fit_at(pose: Float[Array, "m 5"]) -> _Fit:
            # Compiled apart: merged with what uses them the slices would be made again for each use, ten times slower.
            seen = slices(reference, _turned(pose), band.k)
            return _fit(x, ctf, rows, seen, pose, band, mean, precision)

        pose = spread_like(starts[:, rows].reshape(-1, 5), x)
        damping = spread_like(np.full(len(pose), _FIRST_DAMPING, np.float32), x)
        state = _State(pose, damping, fit_at(pose))
        for _ in range(n_steps):
            trial = _propose(state)
            state = _choose(state, trial, fit_at(trial))
        return RefinedPoses(state.pose, state.fit.score, state.fit.curvature)

    return map_rows(climb, len(x), block, shards=shards)


# --- private kernels ----------------------------------------------------------------------------


class _Fit(NamedTuple):
    score: Float[Array, "m"]
    slope: Float[Array, "m 5"]
    curvature: Float[Array, "m 5 5"]


class _State(NamedTuple):
    pose: Float[Array, "m 5"]
    damping: Float[Array, "m"]
    fit: _Fit


@jit_rows("pose")
def _turned(pose: Float[Array, "m 5"]) -> Float[Array, "k 3 3"]:
    """Four matrices for each pose: as it is, and turned by each angle."""
    angles = pose[:, None, :3] + _TURN_DEG * jnp.concatenate([jnp.zeros((1, 3)), jnp.eye(3)])
    ca, cb, cg = jnp.moveaxis(jnp.cos(jnp.deg2rad(angles.reshape(-1, 3))), 1, 0)
    sa, sb, sg = jnp.moveaxis(jnp.sin(jnp.deg2rad(angles.reshape(-1, 3))), 1, 0)
    # helixlab.geometry.pose.euler_to_matrix
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return jnp.moveaxis(jnp.array(rows), 2, 0)


@jit_rows("x", "ctf", "seen", "pose")
def _fit(
    x: Float[Array, "n 2 f"],
    ctf: Float[Array, "n f"],
    rows: Int[Array, "m"],
    seen: Float[Array, "k 2 f"],
    pose: Float[Array, "m 5"],
    band: Band,
    mean: Float[Array, "5"],
    precision: Float[Array, "5"],
) -> _Fit:
    x, ctf = x[rows], ctf[rows]
    seen = seen.reshape(len(x), 4, 2, -1)
    model = ctf[:, None] * seen[:, 0]
    slopes = ctf[:, None, None] * (seen[:, 1:] - seen[:, :1]) / _TURN_DEG
    shift_slopes = (2 * jnp.pi / band.box) * band.k.T[:, None] * jnp.stack([-model[:, 1], model[:, 0]], axis=1)[:, None]
    jacobian = jnp.concatenate([slopes, shift_slopes], axis=1).reshape(len(x), 5, -1)
    residual = shift_bands(x, pose[:, 3:], band) - model
    off = pose - mean
    # Σ|X|² is left out: beside it the changes from step to step would lose their digits.
    score = jnp.sum(model * (2 * residual + model), axis=(1, 2)) - 0.5 * jnp.sum(precision * off**2, axis=1)
    slope = 2 * jnp.einsum("mjw,mw->mj", jacobian, residual.reshape(len(x), -1)) - precision * off
    curvature = 2 * jnp.einsum("miw,mjw->mij", jacobian, jacobian) + jnp.diag(precision)
    return _Fit(score, slope, curvature)


@jit_rows("state")
def _propose(state: _State) -> Float[Array, "m 5"]:
    diagonal = jnp.diagonal(state.fit.curvature, axis1=1, axis2=2)
    # An angle that changes nothing (a map round about its axis) stays where it is.
    added = state.damping[:, None] * diagonal + jnp.finfo(jnp.float32).eps * (1 + diagonal)
    damped = state.fit.curvature + jax.vmap(jnp.diag)(added)
    return state.pose + jnp.linalg.solve(damped, state.fit.slope[..., None])[..., 0]


@jit_rows("state", "trial", "fit")
def _choose(state: _State, trial: Float[Array, "m 5"], fit: _Fit) -> _State:
    is_better = fit.score > state.fit.score

    def choose(new: Float[Array, "m *shape"], old: Float[Array, "m *shape"]) -> Float[Array, "m *shape"]:
        return jnp.where(is_better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    damping = state.damping * jnp.where(is_better, _EASE, _TIGHTEN)
    return _State(choose(trial, state.pose), damping, jax.tree.map(choose, fit, state.fit))
