"""Scores of helical symmetries, read off a correlation of a filament with itself.

A screw (twist t, rise R) is scored by the lags (k·t, k·R), k = 1, 2, …: J = Σ C / Σ E, the correlation of the
map with all its own copies at once. Everything is a look-up in splines, so that whole planes of (twist, rise)
cost less than one rotated map, and J has derivatives.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from helixlab.kernels.correlate import Correlation, Jet, line_jet, plane_jet, read_line, read_plane
from helixlab.kernels.interpolate import cubic_weights

_NEWTON_STEPS = 16
_MAX_STEPS = 1024
"""Most lags of one screw that are looked at."""

_TRUST_A = 1.0
"""Longest Newton step, as a displacement of the last lag used: a fraction of the width of a correlation peak."""


class LagLimits(NamedTuple):
    """Which lags count."""

    max_z_A: Float[Array, ""]
    """Longest shift along the axis; beyond it too little of the map overlaps."""
    min_arc_A: Float[Array, ""]
    """Lags shorter than this compare a feature with itself, and noise with itself in a single map."""
    radius_A: Float[Array, ""]
    """Radius at which a turn is counted as an arc."""


def is_used(limits: LagLimits, phi_deg: Float[Array, "*#k"], z_A: Float[Array, "*#k"]) -> Bool[Array, "*k"]:
    """Whether a lag is inside the overlap and apart from the origin."""
    arc_A = jnp.deg2rad((phi_deg + 180.0) % 360.0 - 180.0) * limits.radius_A
    return (jnp.abs(z_A) <= limits.max_z_A) & (arc_A**2 + z_A**2 >= limits.min_arc_A**2)


@jax.jit
def score_grid(
    correlation: Correlation,
    limits: LagLimits,
    twist_deg: Float[Array, "t"],
    rise_A: Float[Array, "r"],
    n_steps: Int[Array, ""],
) -> tuple[Float[Array, "t r"], Float[Array, "t r"]]:
    """Score J and mean squared error of every pair, from the first ``n_steps`` lags of each.

    Returns
    -------
    score, mse : arrays, shape (t, r)
        J = ΣC/ΣE (1 for a perfect symmetry) and Σ(squared differences) in units of the map's variance. Pairs
        without a usable lag have score −1 and mse 2, the values of a map against its negative.
    """
    n_z, n_phi = correlation.product.shape
    by_phi = correlation.product.T

    def add_lag(i: Array, total: tuple[Array, ...]) -> tuple[Array, ...]:
        k = (i + 1).astype(jnp.float32)
        z = k * rise_A / correlation.z_step_A
        base = jnp.floor(z)
        rows = (base.astype(jnp.int32)[:, None] + jnp.arange(-1, 3)) % n_z
        along = jnp.einsum("pra,ra->pr", by_phi[:, rows], cubic_weights(z - base))
        x = ((k * twist_deg) % 360.0) * (n_phi / 360.0)
        column = jnp.floor(x).astype(jnp.int32)
        weight = cubic_weights(x - jnp.floor(x))
        product = jnp.einsum("ta,tar->tr", weight, along[(column[:, None] + jnp.arange(-1, 3)) % n_phi])
        used = is_used(limits, (k * twist_deg)[:, None], (k * rise_A)[None, :])
        return _added(total, used, product, *(read_line(line, z)[None, :] for line in _lines(correlation)))

    zeros = jnp.zeros((twist_deg.shape[0], rise_A.shape[0]), jnp.float32)
    return _ratios(correlation, *jax.lax.fori_loop(0, n_steps, add_lag, (zeros, zeros, zeros, zeros)))


@jax.jit
def score_pairs(
    correlation: Correlation,
    limits: LagLimits,
    twist_deg: Float[Array, "n"],
    rise_A: Float[Array, "n"],
    n_steps: Int[Array, ""],
) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """Score and mean squared error as :func:`score_grid`, of listed pairs instead of a grid."""

    def add_lag(i: Array, total: tuple[Array, ...]) -> tuple[Array, ...]:
        k = (i + 1).astype(jnp.float32)
        z = k * rise_A / correlation.z_step_A
        used = is_used(limits, k * twist_deg, k * rise_A)
        product = read_plane(correlation.product, k * twist_deg, z)
        return _added(total, used, product, *(read_line(line, z) for line in _lines(correlation)))

    zeros = jnp.zeros(twist_deg.shape, jnp.float32)
    return _ratios(correlation, *jax.lax.fori_loop(0, n_steps, add_lag, (zeros, zeros, zeros, zeros)))


def _lines(correlation: Correlation) -> tuple[Float[Array, "lag_z"], ...]:
    return correlation.energy, correlation.spread, correlation.overlap


def _added(total: tuple[Array, ...], used: Bool[Array, "*k"], *terms: Array) -> tuple[Array, ...]:
    return tuple(t + jnp.where(used, term, 0.0) for t, term in zip(total, terms, strict=True))


def _ratios(
    correlation: Correlation,
    product: Float[Array, "*k"],
    energy: Float[Array, "*k"],
    spread: Float[Array, "*k"],
    overlap: Float[Array, "*k"],
) -> tuple[Float[Array, "*k"], Float[Array, "*k"]]:
    empty = energy <= 1e-6 * read_line(correlation.energy, jnp.zeros(()))
    score = jnp.where(empty, -1.0, product / jnp.where(empty, 1.0, energy))
    mse = jnp.where(empty, 2.0, (spread - 2.0 * product) / jnp.where(empty, 1.0, overlap))
    return score, mse


@jax.jit
def score_roots(
    correlation: Correlation,
    limits: LagLimits,
    twist_deg: Float[Array, "n"],
    rise_A: Float[Array, "n"],
    power: Float[Array, "n"],
) -> Float[Array, "n"]:
    """J of each screw over the lags that its ``power``-th power lacks: k not a multiple of ``power``."""
    used_steps = jnp.minimum(jnp.floor(limits.max_z_A / jnp.min(rise_A)), _MAX_STEPS).astype(jnp.int32)

    def add_lag(i: Array, total: tuple[Array, Array]) -> tuple[Array, Array]:
        k = (i + 1).astype(jnp.float32)
        used = is_used(limits, k * twist_deg, k * rise_A) & (k % power != 0)
        z = k * rise_A / correlation.z_step_A
        terms = (read_plane(correlation.product, k * twist_deg, z), read_line(correlation.energy, z))
        return total[0] + jnp.where(used, terms[0], 0.0), total[1] + jnp.where(used, terms[1], 0.0)

    zeros = jnp.zeros_like(rise_A)
    product, energy = jax.lax.fori_loop(0, used_steps, add_lag, (zeros, zeros))
    return jnp.where(energy > 0, product / jnp.where(energy > 0, energy, 1.0), -1.0)


class _Sums(NamedTuple):
    """ΣC and ΣE over a screw's lags with their derivatives by twist (degrees) and rise (lag samples)."""

    product: Jet
    energy: tuple[Float[Array, "n"], Float[Array, "n"], Float[Array, "n"]]


class ScrewFit(NamedTuple):
    """Refined screws, one per start."""

    twist_deg: Float[Array, "n"]
    rise_A: Float[Array, "n"]
    score: Float[Array, "n"]


@jax.jit
def refine_screws(
    correlation: Correlation,
    limits: LagLimits,
    twist_deg: Float[Array, "n"],
    rise_A: Float[Array, "n"],
    max_steps: Float[Array, ""],
) -> ScrewFit:
    """Climb from each start to the nearest maximum of J over its first ``max_steps`` lags.

    Newton's method in the displacement of the last lag (r·K·twist, K·rise), damped as Levenberg and Marquardt
    do and limited to a step of an Ångström there. The set of lags is fixed at the start.
    """
    last = jnp.clip(jnp.floor(limits.max_z_A / rise_A), 1.0, max_steps)
    start = jnp.stack([twist_deg, rise_A / correlation.z_step_A])
    unit = jnp.stack([jnp.rad2deg(1.0 / limits.radius_A), 1.0 / correlation.z_step_A])[:, None] / last

    def evaluate(u: Array) -> tuple[Array, Array, Array]:
        twist, rise = start + u * unit
        value, gradient, hessian = _score_jet(_screw_sums(correlation, limits, twist, rise, twist_deg, rise_A, last))
        return value, gradient * unit, hessian * unit[:, None] * unit[None, :]

    def step(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        u, value, gradient, hessian, damping, trial = state
        new = evaluate(trial)
        better = new[0] >= value
        u, value, gradient, hessian = (
            jnp.where(better, a, b) for a, b in zip((trial, *new), (u, value, gradient, hessian), strict=True)
        )
        damping = jnp.where(better, damping * 0.1, jnp.maximum(damping * 10.0, 1e-3))
        move = _damped_newton(gradient, hessian, damping)
        move *= jnp.minimum(1.0, _TRUST_A / jnp.maximum(jnp.hypot(move[0], move[1]), 1e-12))
        return u, value, gradient, hessian, damping, u + move

    zero = jnp.zeros_like(rise_A)
    two = jnp.zeros_like(start)
    state = (two, zero - 2.0, two, jnp.zeros((2, *start.shape)), zero, two)
    u, value, *_ = jax.lax.fori_loop(0, _NEWTON_STEPS + 1, step, state)
    twist, rise = start + u * unit
    return ScrewFit(twist, rise * correlation.z_step_A, value)


def _damped_newton(
    gradient: Float[Array, "2 n"], hessian: Float[Array, "2 2 n"], damping: Float[Array, "n"]
) -> Float[Array, "2 n"]:
    """The uphill step (μ − H)⁻¹·g with μ at least as large as it takes for μ − H to be positive definite."""
    a, b, c = -hessian[0, 0], -hessian[0, 1], -hessian[1, 1]
    lowest = (a + c) / 2 - jnp.hypot((a - c) / 2, b)
    shift = damping + jnp.where(lowest > 1e-6, 0.0, 1e-6 - 2.0 * lowest)
    a, c = a + shift, c + shift
    return jnp.stack([c * gradient[0] - b * gradient[1], a * gradient[1] - b * gradient[0]]) / (a * c - b * b)


def _screw_sums(
    correlation: Correlation,
    limits: LagLimits,
    twist_deg: Float[Array, "n"],
    rise: Float[Array, "n"],
    nominal_twist_deg: Float[Array, "n"],
    nominal_rise_A: Float[Array, "n"],
    last: Float[Array, "n"],
) -> _Sums:
    """Sums over k = 1 … last; the nominal screw says which lags are used, ``rise`` counts lag samples."""

    def add_lag(i: Array, sums: _Sums) -> _Sums:
        k = (i + 1).astype(jnp.float32)
        used = is_used(limits, k * nominal_twist_deg, k * nominal_rise_A) & (k <= last)
        jet = plane_jet(correlation.product, k * twist_deg, k * rise)
        power = Jet(*(k**p for p in (0, 1, 1, 2, 2, 2)))
        product = jax.tree.map(lambda total, term, f: total + jnp.where(used, f * term, 0.0), sums.product, jet, power)
        line = line_jet(correlation.energy, k * rise)
        value, slope, curvature = (
            total + jnp.where(used, k**p * term, 0.0)
            for p, (total, term) in enumerate(zip(sums.energy, line, strict=True))
        )
        return _Sums(product, (value, slope, curvature))

    zero = jnp.zeros_like(rise)
    steps = jnp.max(last).astype(jnp.int32)
    return jax.lax.fori_loop(0, steps, add_lag, _Sums(Jet(*[zero] * 6), (zero, zero, zero)))


def _score_jet(sums: _Sums) -> tuple[Float[Array, "n"], Float[Array, "2 n"], Float[Array, "2 2 n"]]:
    """J = ΣC/ΣE with its gradient and Hessian in (degrees, lag samples)."""
    p = sums.product
    energy, slope, curvature = sums.energy
    safe = jnp.where(energy > 0, energy, 1.0)
    score = jnp.where(energy > 0, p.value / safe, -1.0)
    d_twist = p.d_phi / safe
    d_rise = (p.d_z - score * slope) / safe
    d_tt = p.d_phi_phi / safe
    d_tr = (p.d_phi_z - d_twist * slope) / safe
    d_rr = (p.d_z_z - 2.0 * d_rise * slope - score * curvature) / safe
    return score, jnp.stack([d_twist, d_rise]), jnp.stack([jnp.stack([d_tt, d_tr]), jnp.stack([d_tr, d_rr])])


@jax.jit
def contrast(
    correlation: Correlation,
    limits: LagLimits,
    phi_deg: Float[Array, "k"],
    z_A: Float[Array, "k"],
    first: Bool[Array, "k"],
    second: Bool[Array, "k"],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Score over two sets of lags, and the standard error of their difference.

    Returns
    -------
    score_first, score_second, se : scalars
        J over each set (0 for an empty one) and the noise of J_first − J_second, from turned copies of the
        noise term.
    """
    z = z_A / correlation.z_step_A
    product, energy = read_plane(correlation.product, phi_deg, z), read_line(correlation.energy, z)
    floor = 1e-6 * read_line(correlation.energy, jnp.zeros(()))

    def weights(chosen: Array) -> Array:
        return jnp.where(chosen, 1.0, 0.0) / jnp.maximum(jnp.where(chosen, energy, 0.0).sum(), floor)

    difference = weights(first) - weights(second)
    noise = jax.lax.map(
        lambda shift: difference @ read_plane(correlation.noise, phi_deg + shift[0], z + shift[1]),
        _noise_shifts(limits, correlation),
        batch_size=_N_TURNS,
    )
    return product @ weights(first), product @ weights(second), jnp.sqrt(jnp.mean(noise**2))


_N_TURNS = 37
"""Turned copies of the noise: prime, so that no cyclic order repeats them."""

_N_SHIFTS = 5


def _noise_shifts(limits: LagLimits, correlation: Correlation) -> Float[Array, "n 2"]:
    """Lags (degrees, lag samples) by which the noise term is moved to give further realisations.

    Noise has no place of its own: turned about the axis it is as likely, and so it is moved along the axis by
    more than its correlation length, as long as the overlap stays nearly the same.
    """
    turns = jnp.arange(_N_TURNS) * (360.0 / _N_TURNS)
    step_A = jnp.minimum(2.0 * limits.min_arc_A, 0.05 * limits.max_z_A)
    heights = (jnp.arange(_N_SHIFTS) - _N_SHIFTS // 2) * (step_A / correlation.z_step_A)
    return jnp.stack([a.ravel() for a in jnp.meshgrid(turns, heights, indexing="ij")], axis=1)


@partial(jax.jit, static_argnames=("is_departure",))
def screw_errors(
    correlation: Correlation,
    limits: LagLimits,
    twist_deg: Float[Array, ""],
    rise_A: Float[Array, ""],
    *,
    is_departure: bool = False,
) -> tuple[Float[Array, "2 2"], Float[Array, "2 2"]]:
    """Hessian of J at a maximum, and the covariance of J's gradient that noise causes, in (degrees, Å).

    Parameters
    ----------
    correlation, limits, twist_deg, rise_A
        The maximum.
    is_departure : bool
        Whether the noise term is that of :func:`~helixlab.kernels.correlate.departure_noise`. A departure lacks what
        all copies share, and with it a part of the noise at every lag, the same up and down the axis. Differences
        between lags k and −k lack nothing; and the slope of an even function, as C is, is half such a difference.
    """
    unit = jnp.stack([1.0, 1.0 / correlation.z_step_A])
    last = jnp.maximum(jnp.floor(limits.max_z_A / rise_A), 1.0)
    sums = _screw_sums(
        correlation,
        limits,
        *(a[None] for a in (twist_deg, rise_A / correlation.z_step_A, twist_deg, rise_A, last)),
    )
    hessian = _score_jet(sums)[2][:, :, 0] * unit[:, None] * unit
    turn_deg, shift = _noise_shifts(limits, correlation).T

    def noise_slope(k: Array) -> Array:
        jet = plane_jet(correlation.noise, k * twist_deg + turn_deg, k * rise_A / correlation.z_step_A + shift)
        return jnp.stack([jet.d_phi, jet.d_z])

    def add_slope(i: Array, total: Array) -> Array:
        k = (i + 1).astype(jnp.float32)
        slope = noise_slope(k)
        if is_departure:
            # The variance of the noise term is that of one lag; a difference has twice as much.
            slope = (slope - noise_slope(-k)) * np.float32(np.sqrt(0.5))
        used = is_used(limits, k * twist_deg, k * rise_A)
        return total + jnp.where(used, k * slope, 0.0)

    slopes = jax.lax.fori_loop(0, last.astype(jnp.int32), add_slope, jnp.zeros((2, turn_deg.shape[0])))
    slopes = slopes * unit[:, None] / sums.energy[0]
    return hessian, slopes @ slopes.T / turn_deg.shape[0]


@jax.jit
def fold(correlation: Correlation, order: Float[Array, ""]) -> Correlation:
    """The correlation averaged over the turns of C``order``: only every n-th angular term is kept."""

    def keep(plane: Array) -> Array:
        spectrum = jnp.fft.rfft(plane, axis=1)
        m = jnp.arange(spectrum.shape[1])
        return jnp.fft.irfft(jnp.where(m % order == 0, spectrum, 0.0), n=plane.shape[1], axis=1)

    return correlation._replace(product=keep(correlation.product), noise=keep(correlation.noise))
