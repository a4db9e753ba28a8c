"""White noise for half maps, at a level given directly or by the FSC it leads to."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.simulate.density import band_limit_per_A, lowpass_weights

FSC_THRESHOLD = 0.143
"""Half-map FSC at which a map's resolution is quoted; Rosenthal & Henderson (2003), doi:10.1016/j.jmb.2003.07.013."""

_NEARBY_LEVELS = (1 / 1.1, 1.0, 1.1)
"""A shell of a filament's transform holds some hundred independent terms: its FSC scatters as if the noise level
were this uncertain."""


@dataclass(frozen=True)
class HalfMapNoise:
    """Level and colour of the noise in each half map.

    Parameters
    ----------
    sd : float
        Standard deviation per voxel, in units of the noise-free map's standard deviation within the filament.
    lowpass_A : float or None
        Soft low-pass of the noise; None: white.
    fsc_resolution_A : float or None
        Where the expected FSC of the half maps within the cylinder first falls below 0.143; None: nowhere up to
        the map's resolution, or no noise.
    """

    sd: float
    lowpass_A: float | None = None
    fsc_resolution_A: float | None = None


def choose_noise(
    truth: Volume,
    mask: Float[np.ndarray, "z y x"],
    *,
    sd: float,
    fsc_resolution_A: float | None,
    lowpass_A: float | None,
    map_resolution_A: float,
) -> HalfMapNoise:
    """Settle the noise level from what was asked for, and the FSC that follows from it.

    Parameters
    ----------
    truth : Volume
        Noise-free map.
    mask : float array, shape of the map, in [0, 1]
        The filament, with soft edges.
    sd : float
        Noise asked for directly, ≥ 0.
    fsc_resolution_A : float or None
        Or the resolution at which the half-map FSC is to fall below 0.143, Å; see :func:`noise_for_fsc`.
    lowpass_A : float or None
        Low-pass of the noise, Å.
    map_resolution_A : float
        Low-pass of the map; nothing finer can be asked for.

    Raises
    ------
    HelixLabError
        If both a level and an FSC are given, or a value is out of range.
    """
    if not (math.isfinite(sd) and sd >= 0):
        raise HelixLabError(f"noise: found {sd}; it is a standard deviation, 0 or positive.")
    if lowpass_A is not None:
        band_limit_per_A(lowpass_A, truth.pixel_size_A)  # refuses what is finer than two voxels
    if fsc_resolution_A is not None:
        if sd > 0:
            raise HelixLabError(f"noise: found {sd} beside fsc_resolution_A = {fsc_resolution_A}; give one of them.")
        if not fsc_resolution_A > map_resolution_A:
            raise HelixLabError(
                f"fsc_resolution_A: found {fsc_resolution_A}; the map is low-passed to {map_resolution_A:g} Å, and "
                "its FSC can only be made to fall below 0.143 at a coarser resolution."
            )
        sd = noise_for_fsc(truth, mask, fsc_resolution_A, lowpass_A=lowpass_A)
    if sd == 0:
        return HalfMapNoise(0.0, lowpass_A)
    freq_per_A, ratio = signal_to_noise(truth, mask, lowpass_A=lowpass_A)
    return HalfMapNoise(float(sd), lowpass_A, _first_crossing_A(freq_per_A, _expected_fsc(ratio, sd)))


def noise_for_fsc(
    truth: Volume,
    mask: Float[np.ndarray, "z y x"],
    fsc_resolution_A: float,
    *,
    lowpass_A: float | None = None,
) -> float:
    """The noise level at which the FSC of two half maps is expected to fall below 0.143 at a given resolution.

    Parameters
    ----------
    truth : Volume
        Noise-free map.
    mask : float array, shape of the map, in [0, 1]
        The filament, with soft edges; the FSC is taken within it.
    fsc_resolution_A : float
        Å.
    lowpass_A : float, optional
        Low-pass of the noise, Å.

    Returns
    -------
    float
        Standard deviation of the noise per voxel of a half map, in the units of the map.

    Raises
    ------
    HelixLabError
        If the box has no shell at that resolution, or the map no signal.

    Notes
    -----
    With signal power S(s) and noise power σ²N(s) per half map, both within the mask, FSC = S/(S + σ²N). S of a
    helix dips between its layer lines, so that the frequency at which the FSC first falls below 0.143 jumps where
    a growing σ takes the FSC of a dip below 0.143, and some resolutions cannot be had. Of levels 2% apart the one
    is taken whose crossing, and those at 10% more and 10% less noise, lie nearest to the resolution asked for:
    far from a jump where possible. The crossing that results is in :class:`HalfMapNoise`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noisy = Volume(rng.normal(size=(32, 32, 32)), 1.0)
    >>> round(noise_for_fsc(noisy, np.ones((32, 32, 32)), 8.0))
    2
    """
    freq_per_A, ratio = signal_to_noise(truth, mask, lowpass_A=lowpass_A)
    if not (freq_per_A[1] <= 1 / fsc_resolution_A <= freq_per_A[-1]):
        raise HelixLabError(
            f"fsc_resolution_A: found {fsc_resolution_A}; the box resolves {1 / freq_per_A[1]:.1f} to "
            f"{1 / freq_per_A[-1]:.1f} Å. Choose a value between."
        )
    finite = ratio[1:][np.isfinite(ratio[1:]) & (ratio[1:] > 1e-12)]
    if not len(finite):
        raise HelixLabError("fsc_resolution_A: the map has no signal within the filament's mask; check the model.")
    low, high = (math.sqrt((1 / FSC_THRESHOLD - 1) * x) for x in (finite.min(), finite.max()))
    levels = low * 1.02 ** np.arange(math.ceil(math.log(high / low) / math.log(1.02)) + 1)
    miss = np.zeros(len(levels))
    for factor in _NEARBY_LEVELS:
        crossings_A = [
            _first_crossing_A(freq_per_A, _expected_fsc(ratio, factor * sd)) or 1 / freq_per_A[-1] for sd in levels
        ]
        miss += np.abs(np.log(np.array(crossings_A) / fsc_resolution_A))
    return float(levels[np.argmin(miss)])


def signal_to_noise(
    truth: Volume, mask: Float[np.ndarray, "z y x"], *, lowpass_A: float | None = None
) -> tuple[Float[np.ndarray, "s"], Float[np.ndarray, "s"]]:
    """Power of the signal over that of noise of standard deviation 1, shell by shell, within a mask.

    Parameters
    ----------
    truth : Volume
        Noise-free map.
    mask : float array, shape of the map, in [0, 1]
    lowpass_A : float, optional
        Low-pass of the noise, Å.

    Returns
    -------
    freq_per_A : float64 array, shape (s,)
        Centres of the shells, 0 to Nyquist, one step of 1/(longest edge) apart.
    ratio : float64 array, shape (s,)
        Mean |F(mask·map)|² over mean |F(mask·noise)|². The FSC to be expected of two half maps with noise of
        standard deviation σ is ratio/(ratio + σ²).
    """
    freq = _frequencies(truth)
    step_per_A = 1.0 / max(truth.extent_A)
    shell = np.rint(freq / step_per_A).astype(int).ravel()
    count = int(0.5 / truth.pixel_size_A / step_per_A) + 1
    # Each coefficient of the half spectrum stands for itself and its Friedel mate, save the planes kx = 0, Nyquist.
    twice = np.full(freq.shape, 2.0)
    twice[..., 0] = 1.0
    number = np.bincount(shell, twice.ravel())[:count]
    power = np.abs(np.fft.rfftn(truth.data * mask)) ** 2 * twice
    signal = np.bincount(shell, power.ravel())[:count] / number
    noise = np.full(count, float(np.sum(np.asarray(mask, float) ** 2)))
    if lowpass_A is not None:
        filtered = lowpass_weights(freq, lowpass_A, truth.pixel_size_A) ** 2
        noise *= np.bincount(shell, (filtered * twice).ravel())[:count] / number
        noise /= np.sum(filtered * twice) / np.sum(twice)
    with np.errstate(divide="ignore"):
        ratio = np.where(noise > 0, signal / noise, np.inf)
    return np.arange(count) * step_per_A, ratio


def white_noise(like: Volume, noise: HalfMapNoise, seed: int | tuple[int, ...]) -> Float[np.ndarray, "z y x"]:
    """Gaussian noise on the grid of a map.

    Parameters
    ----------
    like : Volume
        Gives shape and voxel size.
    noise : HalfMapNoise
        Standard deviation and low-pass; low-passed noise keeps its standard deviation.
    seed : int or tuple of int
        Different seeds give independent noise.

    Returns
    -------
    float32 array, shape of the map

    Examples
    --------
    >>> noise = white_noise(Volume(np.zeros((32, 32, 32)), 1.0), HalfMapNoise(2.0), 0)
    >>> noise.dtype.name, round(float(noise.std()), 1)
    ('float32', 2.0)
    """
    values = np.random.default_rng(seed).standard_normal(like.shape, np.float32)
    if noise.lowpass_A is not None:
        weights = lowpass_weights(_frequencies(like), noise.lowpass_A, like.pixel_size_A)
        values = np.fft.irfftn(np.fft.rfftn(values) * weights, like.shape, axes=(0, 1, 2))
        values /= values.std()
    return (noise.sd * values).astype(np.float32)


def soft_cylinder(
    distance_A: Float[np.ndarray, "z y x"], radius_A: float, edge_A: float, pixel_size_A: float
) -> Float[np.ndarray, "z y x"]:
    """A mask about the filament: 1 up to the radius, cosine edges at the side and at both ends.

    Parameters
    ----------
    distance_A : float array
        Distance of each voxel from the axis.
    radius_A, edge_A : float
        Radius where the edge starts, and the width of the edges; the ends fade within the box.
    pixel_size_A : float

    Examples
    --------
    >>> mask = soft_cylinder(np.zeros((9, 1, 1)), 5.0, 2.0, 1.0)
    >>> mask[:, 0, 0].round(2).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    side = np.clip((distance_A - radius_A) / edge_A, 0.0, 1.0)
    nz = distance_A.shape[0]
    from_end_A = np.minimum(np.arange(nz), np.arange(nz)[::-1]) * pixel_size_A
    end = np.clip(1.0 - from_end_A / edge_A, 0.0, 1.0)
    return (0.5 + 0.5 * np.cos(np.pi * side)) * (0.5 + 0.5 * np.cos(np.pi * end))[:, None, None]


def _frequencies(volume: Volume) -> Float[np.ndarray, "z y x"]:
    """|s| in 1/Å over the half spectrum."""
    nz, ny, nx = volume.shape
    fz, fy = np.fft.fftfreq(nz, volume.pixel_size_A), np.fft.fftfreq(ny, volume.pixel_size_A)
    fx = np.fft.rfftfreq(nx, volume.pixel_size_A)
    return np.sqrt(fz[:, None, None] ** 2 + fy[:, None] ** 2 + fx**2)


def _expected_fsc(ratio: np.ndarray, sd: float) -> np.ndarray:
    """S/(S + σ²N), 0 where there is no signal and 1 where there is no noise."""
    with np.errstate(divide="ignore"):
        return 1.0 / (1.0 + sd**2 / ratio)


def _first_crossing_A(freq_per_A: np.ndarray, fsc: np.ndarray) -> float | None:
    """Where the curve first falls below 0.143, between shells by linear interpolation; None if it never does."""
    below = np.flatnonzero(fsc[1:] < FSC_THRESHOLD) + 1
    if not len(below):
        return None
    k = int(below[0])
    fall = fsc[k - 1] - fsc[k]
    part = (fsc[k - 1] - FSC_THRESHOLD) / fall if k > 1 and fall > 0 else 1.0
    return float(1.0 / (freq_per_A[k - 1] + part * (freq_per_A[k] - freq_per_A[k - 1])))
