"""Does the noise of a map obey a symmetry? Then that symmetry was imposed on it, and a search repeats it."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.correlate import correlate_map
from helixlab.kernels.fourier import apply_shell_weights, shell_correlation
from helixlab.kernels.interpolate import sample_cylinders
from helixlab.kernels.masks import cylindrical_mask
from helixlab.search.filament import Filament, normalised, power_per_term, smoothed
from helixlab.search.judge import INTERPOLATION_FLOOR, Judge

_NOISY_FSC = 0.5
"""Half maps whose shells correlate by less differ by more noise than each has signal: little of it is left in their
difference, even where they do not lie exactly in one place."""

_SYMMETRIC_PART = 0.2
"""Noise that correlates with its own copies by more than this was averaged over them. Measured: at most 0.03 without
symmetry, 0.3 after an average over five neighbours, 0.8 to 0.99 after one over all copies."""

_HIGHEST_PART = 0.2
"""Part of the shells that hold anything, the highest ones, in which maps are taken to be noise. A single map whose half
maps would agree even there, as binned ones may, is mistaken for one on which a symmetry was imposed."""

_OWN_PART = 0.6
"""Correlation of the highest shells with their own copies that says that even these have the symmetry. Measured: at
most 0.48 in maps with noise of their own, though their half maps correlated by 0.143 up to these shells; 0.71 to 0.99
where the symmetry was imposed (splines lose the rest near the Nyquist frequency)."""

_EMPTY_POWER = 1e-7
"""Shells with less power per term, as a part of the greatest, hold the tail of a filter or rounding. Measured in the
highest shells: 1e-8 to 1e-10 in maps computed at three voxels' resolution, 1e-6 and more in reconstructions."""

_DEPARTURE = 0.05
"""A map that lacks more of its copies than this has noise, though its highest shells, the tail of a filter, may not."""

_MULTIPLES = 8
"""Parts of the symmetry that are looked at: the whole, every second of its copies, …"""

_LEAST_COPIES = 4
"""Copies that a score is read from: the best of several scores of fewer is high by chance."""

PERHAPS_IMPOSED = (
    "The map has no noise to judge this symmetry by. Either it was computed without, or the symmetry was imposed on "
    "it: then the search repeats it, true or not, and the standard errors mean nothing."
)


def obeys_beyond_noise(
    symmetry: HelicalSymmetry, filament: Filament, volume: Volume, half2: Volume | None = None
) -> bool | None:
    """Whether a map has a symmetry, or a part of it, to more than its own noise allows.

    From half maps this is rigorous: their difference is noise, and noise obeys a symmetry only if it was given it. One
    map is noise, if anywhere, in its highest shells.

    Parameters
    ----------
    symmetry : HelicalSymmetry
        The best one found.
    filament : Filament
        Of these maps.
    volume : Volume
        The map, or half map 1, with its axis along z.
    half2 : Volume, optional
        Half map 2.

    Returns
    -------
    bool or None
        None where there is no noise to tell by: one map that the symmetry fits as well as resampling lets see. It was
        computed without noise, or filtered after the symmetry was imposed.
    """
    if half2 is not None:
        difference = volume.with_data(normalised(volume).data - normalised(half2).data)
        return _score(symmetry, filament, difference, _noisy_shells(filament, volume, half2)) > _SYMMETRIC_PART
    power = _power(filament, volume)
    last = np.nonzero(power >= _EMPTY_POWER * power[1:].max())[0][-1]
    fits = _score(symmetry, filament, volume, _highest_shells(len(power), int(last))) > _OWN_PART
    if fits and last == len(power) - 1:
        return True
    least = 1.0 - (_DEPARTURE if fits else INTERPOLATION_FLOOR)
    return None if Judge(filament).score(symmetry)[0] > least else False


def imposed_warning(*, has_half_maps: bool) -> str:
    """What to say of maps that :func:`obeys_beyond_noise` is true of."""
    found = (
        "The noise of the half maps obeys this symmetry, or a part of it:"
        if has_half_maps
        else "The map obeys this symmetry, or a part of it, up to its highest frequencies, where maps have noise: "
        "unless it was computed without noise, or half maps say otherwise,"
    )
    return (
        f"{found} the symmetry was imposed before, and the search repeats it, true or not; its errors are unknown. "
        "Search maps refined without it, e.g. the half maps of a refinement without twist and rise."
    )


def _noisy_shells(filament: Filament, half1: Volume, half2: Volume) -> Bool[np.ndarray, "s"]:
    """Where the half maps hardly agree; where they do up to the Nyquist frequency, the shells below it."""
    mask = cylindrical_mask(half1.shape, filament.outer_radius_A / half1.pixel_size_A)
    sums = shell_correlation(jnp.asarray(half1.data), jnp.asarray(half2.data), mask)
    cross, power1, power2 = (np.asarray(a, np.float64) for a in sums)
    fsc = cross / np.maximum(np.sqrt(power1 * power2), 1e-30)
    # Shell 0 holds nothing.
    is_noisy = smoothed(np.concatenate([fsc[1:2], fsc[1:]])) < _NOISY_FSC
    # Without a mask, which would carry power into shells that a filter has emptied.
    whole = shell_correlation(jnp.asarray(half1.data), jnp.asarray(half2.data), jnp.ones(half1.shape, jnp.float32))
    power = np.asarray(whole[1], np.float64)
    is_full = power > _EMPTY_POWER * power[1:].max()
    is_noisy &= is_full
    is_noisy[0] = False
    return is_noisy if is_noisy.any() else _highest_shells(len(is_noisy), int(np.nonzero(is_full)[0][-1]))


def _highest_shells(count: int, last: int) -> Bool[np.ndarray, "s"]:
    shell = np.arange(count)
    return (shell > (1.0 - _HIGHEST_PART) * last) & (shell <= last)


def _score(symmetry: HelicalSymmetry, filament: Filament, volume: Volume, shells: Bool[np.ndarray, "s"]) -> float:
    """The best of a symmetry and its multiples, of a map with the same power in every term of the chosen shells."""
    power = _power(filament, volume)
    weights = np.where(shells, 1.0 / np.sqrt(np.maximum(power, 1e-30)), 0.0)
    white = np.asarray(apply_shell_weights(volume.data, (weights / weights.max()).astype(np.float32)))
    correlation = correlate_map(
        sample_cylinders(white, filament.radius_px, filament.n_phi),
        jnp.asarray(filament.radius_px, jnp.float32),
        jnp.asarray(filament.window),
        jnp.float32(filament.pixel_size_A),
        n_phi=filament.n_phi,
    )
    judge = Judge(replace(filament, correlation=correlation))
    # What was imposed may be less than what was found: every second or third of its copies.
    last = max(1, min(_MULTIPLES, int(filament.max_lag_A / (_LEAST_COPIES * symmetry.rise_A))))
    return max(judge.score(symmetry.multiple(k))[0] for k in range(1, last + 1))


def _power(filament: Filament, volume: Volume) -> Float[np.ndarray, "s"]:
    ends = {"z_fraction": 0.6, "edge_px": max(5.0, 0.15 * volume.shape[0])}
    mask = cylindrical_mask(volume.shape, filament.outer_radius_A / volume.pixel_size_A, **ends)
    return smoothed(power_per_term(jnp.asarray(volume.data), mask))
