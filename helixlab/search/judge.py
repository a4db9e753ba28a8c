"""Is a symmetry the filament's own? Tests of one set of operators against another.

All tests compare mean correlations over two sets of lags. The screw S with its Cn has the lags of all its
operators; a finer symmetry adds lags. If they correlate as well as those of the coarser symmetry, the finer one
holds too; if they correlate less, it is a pseudo-symmetry. "As well" means within what noise (2.5 standard
errors) or interpolation explains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from helixlab.geometry import HelicalSymmetry, wrap_deg
from helixlab.kernels.lags import contrast, refine_screws, score_pairs, score_roots, screw_errors
from helixlab.search.filament import Filament

INTERPOLATION_FLOOR = 3e-4
"""Relative loss of correlation that resampling alone may cause. Measured on noise-free maps: on and between the lattice
points of a rod without features along its axis the correlations differ by less than 1e-5, and the score of a true
symmetry lies 1e-5 to 3e-4 below 1."""

PSEUDO_SCORE = 0.6
"""A finer symmetry whose extra lags correlate better than this part of the true ones is worth a remark."""

_SIGMAS = 2.5
"""Standard errors within which two correlations are called equal. The best of many peaks is best by luck, too: with
two, one true finer symmetry in ten would be missed."""

SYSTEMATIC_PART = 0.1
"""Part of a single map's departure from its own symmetry that may differ from lag to lag without being noise."""

_SE_MARGIN = 1.15
"""Standard errors of twist and rise come from some 25 independent realisations of the noise (turns and shifts of one
difference map), hence are themselves uncertain by 1/√50: the upper end is reported."""

_RESAMPLING_PX = 2e-4
"""Error of a rise, in voxels, that resampling leaves in noise-free maps (measured: up to 1.5e-4)."""

_RIM_PART = 0.3
"""Systematic error of a rise from half maps, as a part of the rise and of (resolution / length)²: towards their ends
maps made of segments fade, which draws features inwards by the square of their width (measured at true poses: 0.1% at
10 Å in a box of 192 Å)."""

_DECISIVE_PART = 0.1
"""A test that could not see a loss of a tenth of the correlation leaves the question open."""

_MAX_LAGS = 1024
_ROD_HEIGHTS = 16
_LAG_SIZES = (128, 512, 2 * _MAX_LAGS)
"""Sizes to which sets of lags are filled up: few compilations."""

_CONTINUOUS_FRACTIONS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Comparison:
    """Correlation over the lags that a finer symmetry adds, against those of the coarser one.

    Parameters
    ----------
    finer, coarser : float
        Mean correlation over either set of lags.
    se : float
        Standard error of their difference from noise.
    systematic : float
        Difference that errors of the map other than noise may cause.
    """

    finer: float
    coarser: float
    se: float
    systematic: float = 0.0

    @property
    def tolerance(self) -> float:
        """The difference that noise, interpolation and systematic errors explain."""
        return max(_SIGMAS * self.se, INTERPOLATION_FLOOR * abs(self.coarser), self.systematic)

    @property
    def holds(self) -> bool:
        """Whether the finer symmetry holds as well as the coarser one."""
        return self.coarser - self.finer <= self.tolerance

    @property
    def is_decisive(self) -> bool:
        """Whether noise is low enough for the answer to mean something."""
        return self.tolerance < _DECISIVE_PART * max(abs(self.coarser), 1e-6)

    @property
    def ratio(self) -> float:
        """finer / coarser."""
        return self.finer / self.coarser if self.coarser > 0 else 0.0


@dataclass(frozen=True)
class PseudoSymmetry:
    """A finer symmetry that nearly holds."""

    symmetry: HelicalSymmetry
    ratio: float


class Judge:
    """Answers questions about symmetries of one filament.

    Parameters
    ----------
    filament : Filament
    min_rise_A : float
        No finer rise is considered.
    """

    def __init__(self, filament: Filament, min_rise_A: float = 1.0) -> None:
        self.filament = filament
        self.min_rise_A = min_rise_A

    # --- scores ---------------------------------------------------------------------------------

    def score(self, symmetry: HelicalSymmetry) -> tuple[float, float]:
        """Mean correlation and mean squared error over all the symmetry's lags."""
        score, mse = score_pairs(
            self.filament.folded(symmetry.cyclic_order),
            self.filament.limits,
            jnp.asarray([symmetry.twist_deg], jnp.float32),
            jnp.asarray([symmetry.rise_A], jnp.float32),
            jnp.int32(self._last(symmetry.rise_A)),
        )
        return float(score[0]), float(mse[0])

    def score_operators(self, symmetry: HelicalSymmetry) -> tuple[Int[np.ndarray, "l"], Float[np.ndarray, "l"]]:
        """Of each operator that counts, but the identity, its power of the screw (0 for a turn) and its correlation."""
        phi_deg, z_A, k, _ = self._lags(symmetry)
        pad = (0, _lag_size(len(k)) - len(k))
        lags = (jnp.asarray(np.pad(values, pad, mode="edge"), jnp.float32) for values in (phi_deg, z_A))
        one_each, _ = score_pairs(self.filament.correlation, self.filament.limits, *lags, jnp.int32(1))
        score = np.asarray(one_each)[: len(k)]
        return k[score > -1.0], score[score > -1.0]

    def refine(self, symmetry: HelicalSymmetry) -> HelicalSymmetry:
        """The nearest maximum of the score, over ever more lags so that the right peak is kept."""
        return self.refine_all([symmetry])[0]

    def refine_all(self, symmetries: Sequence[HelicalSymmetry]) -> list[HelicalSymmetry]:
        """:meth:`refine` for several symmetries of one cyclic order at once."""
        if not symmetries:
            return []
        twist = _padded([s.twist_deg for s in symmetries])
        rise = _padded([s.rise_A for s in symmetries])
        correlation = self.filament.folded(symmetries[0].cyclic_order)
        for max_steps in _doublings(self._last(float(rise.min()))):
            twist, rise, _ = refine_screws(correlation, self.filament.limits, twist, rise, jnp.float32(max_steps))
        return [
            HelicalSymmetry(float(t), max(float(r), 1e-3), s.point_group)
            for s, t, r in zip(symmetries, twist, rise, strict=False)
        ]

    def standard_errors(self, symmetry: HelicalSymmetry) -> tuple[float, float]:
        """Standard errors of twist (degrees) and rise (Å) from noise: H⁻¹·G·H⁻¹ at the maximum.

        H is the curvature of the score, G the covariance of its slope due to noise. What resampling may cost is
        added, and what the rims of segments may.
        """
        hessian, slopes = self._curvature_and_noise(symmetry)
        unit = np.sqrt(np.abs(np.diag(hessian)))  # degrees and Å differ by orders of magnitude
        if not np.all(unit > 0) or np.linalg.eigvalsh(hessian / np.outer(unit, unit)).max() > -1e-6:
            return np.inf, np.inf
        inverse = np.linalg.inv(hessian)
        twist_se, rise_se = _SE_MARGIN * np.sqrt(np.diag(inverse @ slopes @ inverse))
        floor_A = _RESAMPLING_PX * self.filament.pixel_size_A
        floor_deg = float(np.rad2deg(floor_A / float(self.filament.limits.radius_A)))
        if self.filament.has_half_maps:
            rims_A = _RIM_PART * (self.filament.resolution_A / self.filament.length_A) ** 2 * symmetry.rise_A
            rise_se = np.hypot(rise_se, rims_A)
        return float(np.hypot(twist_se, floor_deg)), float(np.hypot(rise_se, floor_A))

    def twist_error(self, symmetry: HelicalSymmetry) -> float:
        """Standard error of the twist at a given rise, degrees."""
        hessian, slopes = self._curvature_and_noise(symmetry)
        return float(_SE_MARGIN * np.sqrt(slopes[0, 0]) / max(abs(hessian[0, 0]), 1e-30))

    def _curvature_and_noise(
        self, symmetry: HelicalSymmetry
    ) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 2"]]:
        """Hessian of the score, and covariance of its slope from noise."""
        hessian, slopes = screw_errors(
            self.filament.folded(symmetry.cyclic_order),
            self.filament.limits,
            jnp.float32(symmetry.twist_deg),
            jnp.float32(symmetry.rise_A),
            is_departure=not self.filament.has_half_maps,
        )
        return np.asarray(hessian, float), np.asarray(slopes, float)

    def rod_order(self, slope_deg_per_A: float) -> int:
        """The cyclic order of a filament without features along its axis, twisting by a slope."""
        order = 1
        z_A = np.arange(0.0, self.filament.max_lag_A, self.filament.resolution_A)[:_ROD_HEIGHTS]
        while True:
            for p in (p for p in (2, 3, 5, 7) if order * p <= self._max_order):
                turn, height = (a.ravel() for a in np.meshgrid(np.arange(order * p), z_A, indexing="ij"))
                phi_deg = slope_deg_per_A * height + turn * (360.0 / (order * p))
                is_old = turn % p == 0
                comparison = self._contrast(phi_deg, height, ~is_old, is_old & (height > 0))
                if comparison.holds and comparison.is_decisive:
                    order *= p
                    break
            else:
                return order

    # --- comparisons ----------------------------------------------------------------------------

    def compare(self, finer: HelicalSymmetry, coarser: HelicalSymmetry) -> Comparison:
        """Lags of ``finer`` that ``coarser`` lacks, against those it has.

        The coarser symmetry is a subgroup: its rise is a whole multiple, its cyclic order a divisor.
        """
        phi_deg, z_A, k, turn = self._lags(finer)
        n_turn = finer.cyclic_order // coarser.cyclic_order
        step = max(1, round(coarser.rise_A / finer.rise_A))
        # How far the coarser screw turns beyond the finer one's power, in units of the finer turns.
        extra_deg = coarser.twist_deg - step * finer.twist_deg
        extra = round(wrap_deg(extra_deg) / (360.0 / finer.cyclic_order))
        is_old = (k % step == 0) & ((turn - (k // step) * extra) % n_turn == 0)
        return self._contrast(phi_deg, z_A, ~is_old, is_old)

    def compare_rivals(self, first: HelicalSymmetry, second: HelicalSymmetry) -> Comparison:
        """All lags of one symmetry against all of another; ``finer`` is the first, ``coarser`` the second."""
        a, b = self._lags(first), self._lags(second)
        phi_deg, z_A = np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])
        is_first = np.arange(len(phi_deg)) < len(a[0])
        return self._contrast(phi_deg, z_A, is_first, ~is_first)

    def score_error(self, symmetry: HelicalSymmetry) -> float:
        """Standard error of the score from noise."""
        phi_deg, z_A, _, _ = self._lags(symmetry)
        return self._contrast(phi_deg, z_A, np.ones(len(z_A), bool), np.zeros(len(z_A), bool)).se

    # --- finer symmetries -----------------------------------------------------------------------

    def finest(
        self, symmetry: HelicalSymmetry, *, may_turn: bool = True
    ) -> tuple[HelicalSymmetry, list[PseudoSymmetry], list[HelicalSymmetry]]:
        """Climb from a symmetry to the largest group that holds.

        Parameters
        ----------
        symmetry : HelicalSymmetry
            A refined screw.
        may_turn : bool
            Also look for Cn; off when the point group was given.

        Returns
        -------
        finest : HelicalSymmetry
        pseudo : list of PseudoSymmetry
            Finer symmetries of ``finest`` that nearly hold, the closest first.
        undecided : list of HelicalSymmetry
            Coarser symmetries that noise cannot tell from ``finest``.
        """
        undecided: list[HelicalSymmetry] = []
        while True:
            pseudo: list[PseudoSymmetry] = []
            accepted = None
            for finer in self._extensions(symmetry, may_turn):
                comparison = self.compare(finer, symmetry)
                if comparison.holds:
                    accepted = finer
                    if not comparison.is_decisive:
                        undecided.append(symmetry.canonical())
                    break
                if comparison.ratio > PSEUDO_SCORE:
                    pseudo.append(PseudoSymmetry(finer.canonical(), comparison.ratio))
            if accepted is None:
                return symmetry.canonical(), sorted(pseudo, key=lambda p: -p.ratio), undecided
            refined = self.refine(accepted)
            # In noise a climb may end at no rise at all, of which everything is a multiple.
            is_kept = refined.rise_A > 0.99 * self.min_rise_A and self.is_within_peak(symmetry, refined)
            symmetry = refined if is_kept else accepted

    def is_within_peak(self, symmetry: HelicalSymmetry, known: HelicalSymmetry) -> bool:
        """Whether a screw is one of ``known``'s operators to within the width of a correlation peak."""
        near_A = 0.3 * self.filament.resolution_A
        near_deg = float(np.rad2deg(near_A / float(self.filament.limits.radius_A)))
        return symmetry.is_subgroup_of(known, twist_tol_deg=near_deg, rise_tol_A=near_A)

    def continuous_slope(self, symmetry: HelicalSymmetry) -> tuple[float, int] | None:
        """The slope in degrees per Å along which the map has no features, if there is one.

        A filament whose repeat lies beyond the map's resolution looks like a smooth twisted rod: it correlates
        with itself as well between the lattice points as on them, along the line through a low power of the
        screw. Returns the slope and that power.
        """
        period = 360.0 / symmetry.cyclic_order
        slopes: list[float] = []
        for power in range(1, 5):
            height_A = power * symmetry.rise_A
            slope = wrap_deg(power * symmetry.twist_deg, period) / height_A
            # The line of a lower power would be sampled on its own lattice points.
            if any(abs(slope - known) * height_A < 1e-3 for known in slopes):
                continue
            slopes.append(slope)
            count = min(int(self.filament.max_lag_A / height_A), _MAX_LAGS // 4)
            if count < 2:
                return None
            on = np.arange(1, count + 1) * height_A
            between = (np.arange(count)[:, None] + np.array(_CONTINUOUS_FRACTIONS)).ravel() * height_A
            z_A = np.concatenate([between, on])
            is_between = np.arange(len(z_A)) < len(between)
            comparison = self._contrast(slope * z_A, z_A, is_between, ~is_between)
            if comparison.holds and comparison.is_decisive:
                return slope, power
        return None

    def _extensions(self, symmetry: HelicalSymmetry, may_turn: bool) -> list[HelicalSymmetry]:
        """Symmetries finer by a prime index whose extra lags score well enough to be looked at."""
        family, order = symmetry.point_group[0], symmetry.cyclic_order
        found: list[tuple[float, HelicalSymmetry]] = []
        if may_turn:
            for p in (p for p in (2, 3, 5, 7, 11, 13, 17) if order * p <= self._max_order):
                finer = HelicalSymmetry(symmetry.twist_deg, symmetry.rise_A, f"{family}{order * p}")
                found.append((self.compare(finer, symmetry).ratio, finer))
        roots = [
            (p, (symmetry.twist_deg + m * 360.0 / order) / p, symmetry.rise_A / p)
            for p in _primes(int(symmetry.rise_A / self.min_rise_A + 1e-6))
            for m in range(p)
        ]
        if roots:
            power, twist, rise = (_padded(column) for column in zip(*roots, strict=True))
            scores = score_roots(self.filament.folded(order), self.filament.limits, twist, rise, power)
            own = max(self.score(symmetry)[0], 1e-6)
            found += [
                (float(s) / own, HelicalSymmetry(float(t), float(r), symmetry.point_group))
                for s, (_, t, r) in zip(np.asarray(scores), roots, strict=False)
            ]
        # Refinement may raise a score that was read slightly off its peak: look a little below the mark.
        return [s for ratio, s in sorted(found, key=lambda f: -f[0]) if ratio > 0.8 * PSEUDO_SCORE][:8]

    # --- lags -----------------------------------------------------------------------------------

    def _lags(
        self, symmetry: HelicalSymmetry
    ) -> tuple[Float[np.ndarray, "l"], Float[np.ndarray, "l"], np.ndarray, np.ndarray]:
        """Lags of all operators but the identity, as angle, height, and the indices of screw and turn."""
        order = symmetry.cyclic_order
        count = max(1, min(int(self.filament.max_lag_A / symmetry.rise_A), _MAX_LAGS // order - 1))
        k, turn = (a.ravel() for a in np.meshgrid(np.arange(count + 1), np.arange(order), indexing="ij"))
        k, turn = k[1:], turn[1:]
        return k * symmetry.twist_deg + turn * (360.0 / order), k * symmetry.rise_A, k, turn

    def _contrast(
        self,
        phi_deg: Float[np.ndarray, "l"],
        z_A: Float[np.ndarray, "l"],
        first: Bool[np.ndarray, "l"],
        second: Bool[np.ndarray, "l"],
    ) -> Comparison:
        limits = self.filament.limits
        arc_A = np.deg2rad((phi_deg + 180.0) % 360.0 - 180.0) * float(limits.radius_A)
        used = (z_A <= self.filament.max_lag_A) & (arc_A**2 + z_A**2 >= float(limits.min_arc_A) ** 2)
        pad = (0, _lag_size(len(z_A)) - len(z_A))
        a, b, se = contrast(
            self.filament.correlation,
            limits,
            jnp.asarray(np.pad(phi_deg % 360.0, pad), jnp.float32),
            jnp.asarray(np.pad(z_A, pad), jnp.float32),
            jnp.asarray(np.pad(first & used, pad)),
            jnp.asarray(np.pad(second & used, pad)),
        )
        # One map against itself: what it lacks of a perfect score is noise, rounding of grey levels, distortions.
        systematic = 0.0 if self.filament.has_half_maps else SYSTEMATIC_PART * max(0.0, 1.0 - max(float(a), float(b)))
        return Comparison(float(a), float(b), float(se), systematic)

    @property
    def _max_order(self) -> int:
        """Cn whose neighbours are as close as the shortest lag: a finer one could not be told from a ring."""
        limits = self.filament.limits
        return max(
            1, min(_MAX_LAGS // 8, int(2.0 * np.pi * float(limits.radius_A) / max(float(limits.min_arc_A), 1e-3)))
        )

    def _last(self, rise_A: float) -> int:
        """The last copy inside the overlap."""
        return max(1, int(self.filament.max_lag_A / rise_A))


def _padded(values: Sequence[float] | Float[np.ndarray, "k"]) -> Float[Array, "n"]:
    """Filled up with its last value to a power of two, at least 16: few different sizes, few compilations."""
    n = max(16, 1 << (len(values) - 1).bit_length())
    return jnp.asarray(np.pad(np.asarray(values, np.float32), (0, n - len(values)), mode="edge"))


def _lag_size(count: int) -> int:
    """The size to which a set of so many lags is filled up."""
    return next(n for n in (*_LAG_SIZES, 1 << count.bit_length()) if n >= count)


def _doublings(last: int) -> list[int]:
    """12, 24, 48, … and the last one."""
    steps = [n for n in (12 * 2**i for i in range(12)) if n < last]
    return [*steps, max(last, 1)]


def _primes(limit: int) -> list[int]:
    return [p for p in range(2, limit + 1) if all(p % q for q in range(2, int(p**0.5) + 1))]
