"""Scores over whole planes of twist and rise, or of pitch and subunits per turn."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import ndimage

from helixlab.errors import HelixLabError
from helixlab.kernels.lags import score_grid, score_pairs
from helixlab.search.filament import Filament

N_LAGS = 12
"""Copies compared for each pair: enough to tell screws apart, few enough for peaks wider than the grid."""

_FIRST_PEAKS = 30
_EQUAL_PART = 0.03
"""Peaks that a first guess looks at, and the part of the score within which they are equals: noise and the grid's step
cost about as much."""

_PEAK_PART = 0.2
"""Maxima below this part of the best score are not followed up."""


@dataclass(frozen=True, eq=False)
class Landscape:
    """Score and mean squared error over a grid of screws.

    Parameters
    ----------
    twist_deg : array, shape (t,)
    rise_A : array, shape (r,)
    score : array, shape (t, r)
        Correlation of the map with its copies; 1 for a perfect symmetry. A pair whose first copy lies outside the
        overlap has −1.
    mse : array, shape (t, r)
        Mean squared difference in units of the map's variance, CryoSPARC's ranking (lower is better).
    """

    twist_deg: Float[np.ndarray, "t"]
    rise_A: Float[np.ndarray, "r"]
    score: Float[np.ndarray, "t r"]
    mse: Float[np.ndarray, "t r"]

    @property
    def n_pairs(self) -> int:
        """Number of screws scored."""
        return self.score.size

    def peaks(self, count: int) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Twist and rise of the highest local maxima, best first.

        Scores count relative to the best one: noise in a single map lowers all of them alike.
        """
        wraps = len(self.twist_deg) > 1 and abs(np.ptp(self.twist_deg) + np.diff(self.twist_deg)[0] - 360.0) < 1e-3
        along_rise = ndimage.maximum_filter1d(self.score, size=3, axis=1, mode="nearest")
        highest = ndimage.maximum_filter1d(along_rise, size=3, axis=0, mode="wrap" if wraps else "nearest")
        t, r = np.nonzero((self.score == highest) & (self.score > max(_PEAK_PART * self.score.max(), 0.0)))
        best = np.argsort(-self.score[t, r], kind="stable")[:count]
        return self.twist_deg[t[best]], self.rise_A[r[best]]

    def first_guess(self) -> tuple[float, float] | None:
        """Twist and rise of the highest maximum; among equals, of the smallest rise.

        The multiples of a screw score as it does: the smallest rise within 3% of the best score is taken. A place to
        start from and no answer: that is :func:`~helixlab.search.search_symmetry`'s.
        """
        twist_deg, rise_A = self.peaks(_FIRST_PEAKS)
        if not len(twist_deg):
            return None
        at = np.searchsorted(self.twist_deg, twist_deg), np.searchsorted(self.rise_A, rise_A)
        score = self.score[at]
        equals = np.nonzero(score > (1.0 - _EQUAL_PART) * score.max())[0]
        first = equals[np.argmin(rise_A[equals])]
        return float(twist_deg[first]), float(rise_A[first])


def compute_landscape(
    filament: Filament,
    twist_deg: Float[np.ndarray, "t"],
    rise_A: Float[np.ndarray, "r"],
    *,
    cyclic_order: int = 1,
    n_lags: int = N_LAGS,
) -> Landscape:
    """Score every pair of the given twists and rises.

    Parameters
    ----------
    filament : Filament
        From :func:`~helixlab.search.filament.prepare_filament`.
    twist_deg, rise_A : arrays
        The grid's axes; rises above 0.
    cyclic_order : int
        Average over the turns of Cn first.
    n_lags : int
        How many copies k = 1 … n_lags are compared (those inside the overlap).

    Examples
    --------
    >>> from helixlab.geometry import Volume
    >>> from helixlab.search.filament import prepare_filament
    >>> noise = Volume(np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32), 2.0)
    >>> plane = compute_landscape(prepare_filament(noise), np.arange(-180.0, 180.0, 10.0), np.arange(5.0, 20.0))
    >>> plane.score.shape, bool(plane.score.max() < 0.5)
    ((36, 15), True)
    """
    _check_axis("twist_deg", twist_deg)
    _check_axis("rise_A", rise_A)
    if not np.min(rise_A) > 0:
        raise HelixLabError(f"rise_A: found {np.min(rise_A)}; rises are above 0 Å.")
    score, mse = score_grid(
        filament.folded(cyclic_order),
        filament.limits,
        jnp.asarray(twist_deg, jnp.float32),
        jnp.asarray(rise_A, jnp.float32),
        jnp.int32(n_lags),
    )
    return Landscape(np.asarray(twist_deg, float), np.asarray(rise_A, float), np.asarray(score), np.asarray(mse))


def score_pitch_plane(
    filament: Filament,
    pitch_A: Float[np.ndarray, "p"],
    subunits_per_turn: Float[np.ndarray, "n"],
    *,
    hand: int = 1,
    cyclic_order: int = 1,
    n_lags: int = N_LAGS,
) -> tuple[Float[np.ndarray, "p n"], Float[np.ndarray, "p n"]]:
    """Score and mean squared error over pitch and subunits per turn: CryoSPARC's other basis.

    Parameters
    ----------
    filament : Filament
    pitch_A, subunits_per_turn : arrays
        The axes; all above 0.
    hand : int
        1 for right-handed, −1 for left-handed helices.

    Returns
    -------
    score, mse : arrays, shape (p, n)
    """
    for name, axis in (("pitch_A", pitch_A), ("subunits_per_turn", subunits_per_turn)):
        _check_axis(name, axis)
        if not np.min(axis) > 0:
            raise HelixLabError(f"{name}: found {np.min(axis)}; all values are above 0.")
    rise_A = pitch_A[:, None] / subunits_per_turn
    twist_deg = np.broadcast_to(360.0 * hand / subunits_per_turn, rise_A.shape)
    score, mse = score_pairs(
        filament.folded(cyclic_order),
        filament.limits,
        jnp.asarray(twist_deg.ravel(), jnp.float32),
        jnp.asarray(rise_A.ravel(), jnp.float32),
        jnp.int32(n_lags),
    )
    return np.asarray(score).reshape(rise_A.shape), np.asarray(mse).reshape(rise_A.shape)


def search_axes(
    filament: Filament, twist_range_deg: tuple[float, float], rise_range_A: tuple[float, float]
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "r"]]:
    """Grid axes fine enough that no peak falls between two points.

    At the last of :data:`N_LAGS` copies half a step moves the filament by a third of the resolution at most, in
    arc (at the rms radius) and along the axis.
    """
    move_A = 2.0 / 3.0 * filament.resolution_A / N_LAGS
    twist_step = float(np.clip(np.rad2deg(move_A / float(filament.limits.radius_A)), 0.05, 0.25))
    rise_step = float(np.clip(move_A, 0.01, 0.05))
    low, high = twist_range_deg
    n_twist = max(2, int(np.ceil((high - low) / twist_step)))
    is_full_turn = abs(high - low - 360.0) < 1e-6
    twist_deg = np.linspace(low, high, n_twist, endpoint=not is_full_turn)
    high = min(rise_range_A[1], filament.max_lag_A)
    if high <= rise_range_A[0]:
        raise HelixLabError(
            f"rise_range_A: found a lower end of {rise_range_A[0]} Å; in this box of {filament.length_A:.0f} Å only "
            f"rises up to {filament.max_lag_A:.0f} Å can be compared. Give a lower range or a longer box."
        )
    rise_A = np.linspace(rise_range_A[0], high, max(2, int(np.ceil((high - rise_range_A[0]) / rise_step)) + 1))
    return twist_deg, rise_A


def _check_axis(name: str, values: Float[np.ndarray, "n"]) -> None:
    if np.ndim(values) != 1 or len(values) < 1 or not np.all(np.isfinite(values)):
        raise HelixLabError(f"{name}: found an array of shape {np.shape(values)}; a grid axis is one row of numbers.")
