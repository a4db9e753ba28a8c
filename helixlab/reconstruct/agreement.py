"""How far two half maps agree: their FSC in the mask, and the shell to which the next alignment may look.

The density of a helix repeats: a shell holds as many independent numbers as one asymmetric unit has, a few dozen, and
the FSC of single shells scatters by 0.1 and more. What decides is therefore its median over neighbouring shells. A mean
would carry a steep fall outwards: of halves that share all up to some shell and nothing beyond it says that they agree
two shells further.

Half maps also agree in what is round: the radial profile, which images at random azimuths already give at high
resolution. How far poses are right it cannot say, so that the next alignment goes by the FSC of the maps without it.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from helixlab.geometry import Volume
from helixlab.kernels.fourier import fft_volume, ifft_volume, shell_correlation, shell_freqs_per_A, shell_numbers
from helixlab.validate.fsc import HALF_MAP_THRESHOLD, FSCCurve, fsc_values

_NEIGHBOURS = 2
"""Shells to either side that the median is taken over."""

_RANDOM_PART = 0.75
"""Phases are randomised beyond this part of the frequency at which the masked curve crosses the threshold."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """The FSC of two half maps in a mask.

    Parameters
    ----------
    curve : FSCCurve
        Corrected for the mask, if asked for.
    masked : FSCCurve
        As it is.
    smooth : FSCCurve
        Median of ``curve`` over neighbouring shells, in which the resolution is read.
    uneven : FSCCurve
        Of the maps less what is round in them, median over neighbouring shells: how far poses agree.
    """

    curve: FSCCurve
    masked: FSCCurve
    smooth: FSCCurve
    uneven: FSCCurve

    @property
    def resolution_A(self) -> float:
        """At 0.143."""
        return self.smooth.resolution_A()

    @property
    def poses_agree_A(self) -> float:
        """Resolution at which the FSC without round parts first falls to 0.143 beyond its peak.

        Before it there may be nothing: a filament's first layer lines lie at 20 Å and beyond. Infinite if the peak lies
        below.
        """
        freq, fsc = self.uneven.freq_per_A, self.uneven.fsc.copy()
        if fsc[1:].max() < HALF_MAP_THRESHOLD:
            return np.inf
        fsc[: fsc[1:].argmax() + 1] = 1.0
        return FSCCurve(freq, fsc, self.uneven.label).resolution_A()


def half_map_agreement(
    half1: Volume,
    half2: Volume,
    mask: Float[np.ndarray, "z y x"],
    *,
    cyclic_order: int,
    is_corrected: bool,
    seed: int,
    shared_res_A: float | None = None,
) -> Agreement:
    """The FSC of two half maps in a mask.

    Parameters
    ----------
    half1, half2 : Volume
    mask : float32 array
    cyclic_order : int
        Of the point group.
    is_corrected : bool
        Take away what the mask correlates: FSC = (FSC_masked − FSC_random)/(1 − FSC_random) beyond the frequency from
        which on phases are random (Chen et al. 2013, doi:10.1016/j.ultramic.2013.06.004, eq. 4).
    seed : int
        Of the random phases.
    shared_res_A : float, optional
        The halves were aligned with one reference up to this resolution; by default with two.

    Notes
    -----
    What the halves share of a common reference is strong, and the mask spreads it several shells further, where there
    may be next to nothing else. From where the sharing ends up to where the usual correction begins, maps are compared
    whose phases are random from where the sharing ends: what was spread is taken away, and what is agreed on in
    independence is left.
    """
    freq_per_A = shell_freqs_per_A(half1.shape, half1.pixel_size_A)
    # A filament of C4 has nothing but what quarter turns leave as it is.
    uneven_part = (lambda data: data) if cyclic_order % 4 == 0 else _less_quarter_turns

    def fsc_of(one: Float[np.ndarray, "z y x"], two: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "2 s"]:
        """Of the maps, and of what is not round in them."""
        return np.stack([_masked_fsc(one, two, mask), _masked_fsc(uneven_part(one), uneven_part(two), mask)])

    masked = fsc_of(half1.data, half2.data)
    fsc = masked
    if is_corrected:
        rng = np.random.default_rng(seed)
        for first, from_shell in _random_shells(FSCCurve(freq_per_A, smoothed_fsc(masked[0]), ""), shared_res_A):
            one, two = (_with_random_phases(half.data, first, rng) for half in (half1, half2))
            random = fsc_of(one, two)
            corrected = np.clip((masked - random) / np.maximum(1 - random, 1e-3), -1, 1)
            fsc = np.where(np.arange(len(freq_per_A)) >= from_shell, corrected, fsc)
    return Agreement(
        FSCCurve(freq_per_A, fsc[0], "corrected" if is_corrected else "mask"),
        FSCCurve(freq_per_A, masked[0], "mask"),
        FSCCurve(freq_per_A, smoothed_fsc(fsc[0]), "median of neighbouring shells"),
        FSCCurve(freq_per_A, smoothed_fsc(fsc[1]), "without round part"),
    )


def smoothed_fsc(fsc: Float[np.ndarray, "s"]) -> Float[np.ndarray, "s"]:
    """Median over neighbouring shells, fewer of them at the ends; shell 0 counts as 1.

    Examples
    --------
    >>> smoothed_fsc(np.array([1.0, 0.9, 0.9, 0.2, 0.9, 0.1, 0.0, 0.0])).tolist()  # a fall stays where it is
    [1.0, 0.9, 0.9, 0.9, 0.2, 0.1, 0.0, 0.0]
    """
    at = np.arange(len(fsc))
    reach = np.minimum(_NEIGHBOURS, np.minimum(at, len(fsc) - 1 - at))
    return np.array([np.median(fsc[i - r : i + r + 1]) for i, r in zip(at, reach, strict=True)])


def _random_shells(masked: FSCCurve, shared_res_A: float | None) -> list[tuple[int, int]]:
    """From which shells on phases are to be random, and from which the FSC is then to be corrected by them."""
    step_per_A = masked.freq_per_A[1]
    crossing = int(_RANDOM_PART * masked.crossing().freq_per_A / step_per_A)
    # Around the first of them the mask mixes random phases with true ones: two shells there say nothing.
    usual = (crossing, crossing + 3)
    if shared_res_A is None:
        return [usual]
    first_own = int(1 / (shared_res_A * step_per_A) + 0.5) + 1
    # Where the halves agree hardly further than they share, the usual phases would be random in what is shared.
    return [(first_own, first_own), usual] if crossing >= first_own else [(first_own, first_own)]


def _masked_fsc(
    map1: Float[np.ndarray, "z y x"], map2: Float[np.ndarray, "z y x"], mask: Float[np.ndarray, "z y x"]
) -> Float[np.ndarray, "s"]:
    return fsc_values(*shell_correlation(jnp.asarray(map1), jnp.asarray(map2), jnp.asarray(mask)))[0]


def _less_quarter_turns(data: Float[np.ndarray, "z n n"]) -> Float[np.ndarray, "z n n"]:
    """A map less its mean over quarter turns about the axis, which are exact on the grid: round parts vanish.

    Examples
    --------
    >>> from helixlab.geometry.grids import axis_coordinates
    >>> x = axis_coordinates(8)
    >>> round_part = np.exp(-(x[:, None] ** 2) - x**2)[None].astype(np.float32)
    >>> bool(np.abs(_less_quarter_turns(round_part)).max() < 1e-6)
    True
    """
    rest = np.zeros_like(data)
    # In an even box the first row and column have no opposite.
    inside = slice(1 - data.shape[1] % 2, None)
    odd = data[:, inside, inside]
    rest[:, inside, inside] = odd - sum(np.rot90(odd, turn, axes=(1, 2)) for turn in range(4)) / 4
    return rest


def _with_random_phases(data: Float[np.ndarray, "n n n"], first: int, rng: np.random.Generator) -> np.ndarray:
    """The map with the phases of a white-noise map from the shell ``first`` on."""
    transform = np.asarray(fft_volume(jnp.asarray(data)))
    noise = np.asarray(fft_volume(jnp.asarray(rng.normal(size=data.shape), jnp.float32)))
    is_random = np.asarray(shell_numbers(data.shape)) >= first
    phases = noise / np.maximum(np.abs(noise), 1e-30)
    mixed = np.where(is_random, np.abs(transform) * phases, transform)
    return np.asarray(ifft_volume(jnp.asarray(mixed, jnp.complex64), data.shape))
