"""Fourier shell correlation of two maps, and the resolution read from it.

FSC(s) = Σ Re(F1·F2*) / √(Σ|F1|²·Σ|F2|²) over the terms of shell s (Harauz & van Heel 1986, Optik 73, 146). The
shells are those of :mod:`helixlab.kernels.fourier`. The threshold for two independent half maps is 0.143
(Rosenthal & Henderson 2003, J. Mol. Biol. 333, 721, doi:10.1016/j.jmb.2003.07.013), for a map against a model or
the truth 0.5. An FSC measures how well two maps agree and nothing else: half maps that were given the same wrong
helical symmetry agree as well as ever.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helixlab.errors import HelixLabError
from helixlab.geometry.volume import Volume
from helixlab.kernels.fourier import Shape3D, shell_correlation, shell_freqs_per_A
from helixlab.kernels.masks import spherical_mask

HALF_MAP_THRESHOLD = 0.143
MODEL_THRESHOLD = 0.5

_PIXEL_SIZE_RTOL = 1e-4
"""Pixel sizes this close are one: headers are float32 and often written with four digits."""

_IDENTICAL_FSC = 0.9999
"""Two maps that agree better than this in every shell up to Nyquist hold no independent noise."""

_SPHERE_EDGE_FRACTION = 0.1
"""Edge of the default sphere over the box's shortest edge: the tails of its transform end within ten shells."""


@dataclass(frozen=True)
class Crossing:
    """Where a curve first falls below a threshold.

    Parameters
    ----------
    threshold : float
    freq_per_A : float
        Linear interpolation in frequency between the last shell above and the first below; Nyquist if none is.
    reaches_nyquist : bool
        True if the curve never falls below: the resolution is then a bound set by the pixel size.
    """

    threshold: float
    freq_per_A: float
    reaches_nyquist: bool

    @property
    def resolution_A(self) -> float:
        """One over the frequency."""
        return 1.0 / self.freq_per_A

    def __str__(self) -> str:
        if self.reaches_nyquist:
            return f"{self.resolution_A:.2f} Å (Nyquist: never below {self.threshold:g})"
        return f"{self.resolution_A:.2f} Å"


@dataclass(frozen=True, eq=False)
class FSCCurve:
    """One FSC curve.

    Parameters
    ----------
    freq_per_A : float64 array, shape (s,)
        Central frequency of each shell, 1/Å, from 0 to Nyquist, increasing.
    fsc : float64 array, shape (s,)
        Correlation, in [−1, 1]; that of shell 0, a single number, is 1 by convention.
    label : str
        "unmasked", "spherical" or "mask", or what the caller chose.

    Raises
    ------
    HelixLabError
        If the two arrays differ in length, hold fewer than two shells or a value that is not finite, or the
        frequencies do not increase from 0.

    Examples
    --------
    >>> import numpy as np
    >>> curve = FSCCurve(np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.8, 0.2]), "half maps")
    >>> round(curve.resolution_A(0.5), 3)
    6.667
    """

    freq_per_A: Float[np.ndarray, "s"]
    fsc: Float[np.ndarray, "s"]
    label: str

    def __post_init__(self) -> None:
        freq, fsc = (np.array(a, np.float64) for a in (self.freq_per_A, self.fsc))
        if freq.ndim != 1 or freq.shape != fsc.shape or len(freq) < 2:
            raise HelixLabError(
                f"FSCCurve: found {freq.shape} frequencies and {fsc.shape} values; give one value per frequency, "
                "two or more."
            )
        if not (np.isfinite(freq).all() and np.isfinite(fsc).all()):
            raise HelixLabError("FSCCurve: found values that are NaN or infinite; every shell needs a number.")
        if freq[0] < 0 or (np.diff(freq) <= 0).any():
            raise HelixLabError("FSCCurve.freq_per_A: found frequencies that do not increase; sort the curve first.")
        for name, array in (("freq_per_A", freq), ("fsc", fsc)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def crossing(self, threshold: float = HALF_MAP_THRESHOLD) -> Crossing:
        """The first crossing of a threshold in (0, 1), see :class:`Crossing`.

        Examples
        --------
        >>> import numpy as np
        >>> curve = FSCCurve(np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.9, 0.7]), "half maps")
        >>> print(curve.crossing(0.5))
        5.00 Å (Nyquist: never below 0.5)
        """
        if not 0 < threshold < 1:
            raise HelixLabError(f"threshold: found {threshold}; it lies between 0 and 1, e.g. 0.143 or 0.5.")
        below = np.flatnonzero(self.fsc[1:] < threshold) + 1
        if not len(below):
            return Crossing(threshold, float(self.freq_per_A[-1]), True)
        i = below[0]
        # The first shell counts as 1 here whatever it holds: one term says nothing about agreement.
        before = max(float(self.fsc[i - 1]), threshold) if i > 1 else 1.0
        part = (before - threshold) / (before - self.fsc[i])
        return Crossing(threshold, float(self.freq_per_A[i - 1] + part * np.diff(self.freq_per_A)[i - 1]), False)

    def resolution_A(self, threshold: float = HALF_MAP_THRESHOLD) -> float:
        """Resolution in Å at the first crossing; Nyquist's if the curve never crosses (:meth:`crossing` tells)."""
        return self.crossing(threshold).resolution_A


@dataclass(frozen=True)
class FSCResult:
    """All FSC curves of two maps.

    Parameters
    ----------
    curves : tuple of FSCCurve
        "unmasked" and "spherical", then "mask" if one was given.
    notes : tuple of str
        What a reader must know before believing the numbers; empty when nothing is odd.
    """

    curves: tuple[FSCCurve, ...]
    notes: tuple[str, ...] = ()

    def curve(self, label: str) -> FSCCurve:
        """The curve of that label.

        Raises
        ------
        HelixLabError
            If there is none, naming those there are.
        """
        for curve in self.curves:
            if curve.label == label:
                return curve
        raise HelixLabError(f"label: found {label!r}; the curves are {', '.join(c.label for c in self.curves)}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists for JSON: curves with their crossings, and notes."""
        return {"curves": [_curve_dict(c) for c in self.curves], "notes": list(self.notes)}


def compute_fsc(half1: Volume, half2: Volume, *, mask: Volume | None = None) -> FSCResult:
    """Correlate two maps shell by shell: unmasked, in a soft sphere, and in a mask if one is given.

    Parameters
    ----------
    half1, half2 : Volume
        Same shape and pixel size, aligned with each other. Usually two half maps.
    mask : Volume, optional
        Same grid, values in [0, 1]. Both maps are multiplied by it.

    Returns
    -------
    FSCResult

    Raises
    ------
    HelixLabError
        If shape or pixel size differ, the box is below 8 voxels, a map is constant, or the mask is empty or out
        of range.

    Notes
    -----
    The sphere is 1 up to 0.4 of the box's shortest edge and falls to 0 at 0.5, where the box ends. The curve in a
    mask is not corrected for correlations that the mask itself brings (Chen et al. 2013,
    doi:10.1016/j.ultramic.2013.06.004): a tight mask raises it.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.normal(size=(32, 32, 32))
    >>> half1, half2 = (Volume(signal + rng.normal(size=(32, 32, 32)), 2.0) for _ in range(2))
    >>> curve = compute_fsc(half1, half2).curve("unmasked")  # equal power of signal and noise: FSC 1/2
    >>> bool(abs(curve.fsc[-1] - 0.5) < 0.05), curve.crossing(0.143).reaches_nyquist
    (True, True)
    """
    _check_pair("half1", half1, "half2", half2)
    if min(half1.shape) < 8:
        raise HelixLabError(f"half1: found a box of {half1.shape} voxels; an FSC needs at least 8 along each axis.")
    for name, volume in (("half1", half1), ("half2", half2)):
        if np.ptp(volume.data) == 0:
            raise HelixLabError(f"{name}: found the same value in every voxel; an FSC needs a map with some density.")
    masks = {"unmasked": jnp.ones(half1.shape, jnp.float32), "spherical": _default_sphere(half1.shape)}
    if mask is not None:
        masks["mask"] = jnp.asarray(_checked_mask(mask, half1))
    map1, map2 = jnp.asarray(half1.data), jnp.asarray(half2.data)
    freq_per_A = shell_freqs_per_A(half1.shape, half1.pixel_size_A)
    curves, notes = [], []
    for label, weights in masks.items():
        fsc, empty = fsc_values(*shell_correlation(map1, map2, weights))
        curves.append(FSCCurve(freq_per_A, fsc, label))
        if empty:
            notes.append(
                f"{label}: {empty} of {len(fsc) - 1} shells are empty in at least one map; their FSC is undefined and "
                "is given as 0. The map was filtered."
            )
    return FSCResult(tuple(curves), (*notes, *_notes_on(curves)))


def fsc_values(
    cross: Float[Array, "s"], power1: Float[Array, "s"], power2: Float[Array, "s"]
) -> tuple[Float[np.ndarray, "s"], int]:
    """The curve in float64, and how many shells hold no power that float32 can tell from rounding."""
    both, first, second = (np.asarray(a, np.float64) for a in (cross, power1, power2))
    # A transform of N values carries rounding of about eps·rms per term: eps² of the total power.
    floor = np.finfo(np.float32).eps ** 2
    is_empty = (first <= floor * first.sum()) | (second <= floor * second.sum())
    is_empty[0] = True
    fsc = np.divide(both, np.sqrt(first * second), out=np.zeros_like(both), where=~is_empty)
    fsc[0] = 1.0
    return np.clip(fsc, -1.0, 1.0), int(is_empty[1:].sum())


def _notes_on(curves: list[FSCCurve]) -> list[str]:
    if curves[0].fsc[1:].min() > _IDENTICAL_FSC:
        return [
            "The two maps are the same up to scale in every shell: this is no measure of resolution. "
            "Give the two independent half maps."
        ]
    notes = []
    for curve in curves:
        if curve.crossing(HALF_MAP_THRESHOLD).reaches_nyquist:
            notes.append(
                f"{curve.label}: the FSC never falls below {HALF_MAP_THRESHOLD}, so that the resolution is limited by "
                "the pixel size, or the halves are not independent (downsampled, duplicate or shared particles)."
            )
        elif curve.fsc[1] < HALF_MAP_THRESHOLD:
            notes.append(
                f"{curve.label}: the maps do not agree even in the first shell. "
                "Check that they are aligned and show the same structure."
            )
    return notes


def _default_sphere(shape: Shape3D) -> Float[Array, "z y x"]:
    edge_px = _SPHERE_EDGE_FRACTION * min(shape)
    return spherical_mask(shape, min(shape) / 2 - edge_px, edge_px=edge_px)


def _check_pair(name1: str, first: Volume, name2: str, second: Volume) -> None:
    if first.shape != second.shape:
        raise HelixLabError(
            f"{name2}: found shape {second.shape} (z, y, x), but {name1} has {first.shape}; "
            "both must lie on the same grid. Crop, pad or resample one."
        )
    if abs(first.pixel_size_A - second.pixel_size_A) > _PIXEL_SIZE_RTOL * first.pixel_size_A:
        raise HelixLabError(
            f"{name2}: found a pixel size of {second.pixel_size_A:g} Å, but {name1} has {first.pixel_size_A:g} Å; "
            "both must be equal. Correct the header that is wrong, or give the pixel size when reading."
        )


def _checked_mask(mask: Volume, half1: Volume) -> Float[np.ndarray, "z y x"]:
    _check_pair("half1", half1, "mask", mask)
    low, high = float(mask.data.min()), float(mask.data.max())
    # 1e-3: what is left of 0 and 1 after a mask was stored as float16 or resampled.
    if low < -1e-3 or high > 1 + 1e-3:
        raise HelixLabError(
            f"mask: found values from {low:g} to {high:g}; a mask lies between 0 (outside) and 1 (inside). "
            "Is this a map? Make a mask from it, or scale it to 1."
        )
    if high <= 0:
        raise HelixLabError("mask: found zeros only; a mask needs voxels above 0.")
    return np.clip(mask.data, 0.0, 1.0)


def _curve_dict(curve: FSCCurve) -> dict[str, Any]:
    crossings = [curve.crossing(t) for t in (HALF_MAP_THRESHOLD, MODEL_THRESHOLD)]
    return {
        "label": curve.label,
        "crossings": [
            {"threshold": c.threshold, "resolution_A": c.resolution_A, "reaches_nyquist": c.reaches_nyquist}
            for c in crossings
        ],
        "freq_per_A": curve.freq_per_A.tolist(),
        "fsc": curve.fsc.tolist(),
    }
