"""Does the noise of a map obey a symmetry? Then that symmetry was imposed on it, and a search repeats it."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.fourier import apply_shell_weights, shell_correlation
from helixlab.kernels.masks import cylindrical_mask
from helixlab.search.filament import Filament, filament_power, normalised, smoothed, smoothed_fsc
from helixlab.search.judge import INTERPOLATION_FLOOR, Judge

_NOISY_FSC = 0.5
"""Half maps whose shells correlate by less differ by more noise than each has signal: little of it is left in their
difference, even where they do not lie exactly in one place."""

_OBEYED = 0.65
"""Noise that correlates with one of its copies by more than this was averaged over them. Measured: at most 0.02 without
symmetry, up to 0.45 where segments of one filament overlap and bring their common noise to several copies; 0.8 to 1.0
after an average, be it over a few neighbours. In the highest shells of single maps, which hold some signal, at most
0.5 without an average."""

_HIGHEST_PART = 0.2
"""Part of the shells that hold anything, the highest ones, in which maps are taken to be noise. A single map whose half
maps would agree even there, as binned ones may, is mistaken for one on which a symmetry was imposed."""

_EMPTY_POWER = 1e-7
"""Shells with less power per term, as a part of the greatest, hold the tail of a filter or rounding. Measured in the
highest shells: 1e-8 to 1e-10 in maps computed at three voxels' resolution, 1e-6 and more in reconstructions."""

_DEPARTURE = 0.05
"""A map that lacks more of its copies than this has noise, though its highest shells, the tail of a filter, may not."""


@dataclass(frozen=True)
class Imposed:
    """What of a symmetry was on a map before it was searched.

    Parameters
    ----------
    screw, point_group : bool or None
        Whether twist and rise, and whether Cn, were imposed, or a part of their copies. None where the map has no noise
        to tell by: one map that fits its copies as well as resampling lets see. It was computed without noise, or
        filtered after the symmetry was imposed.
    """

    screw: bool | None
    point_group: bool | None

    @property
    def is_certain(self) -> bool:
        """Whether something certainly was imposed."""
        return bool(self.screw or self.point_group)

    @property
    def is_open(self) -> bool:
        """Whether something may have been imposed, which the map cannot tell."""
        return self.screw is None or self.point_group is None

    def warning(self, symmetry: HelicalSymmetry, *, has_half_maps: bool) -> str:
        """What to say of a map on which something was imposed."""
        what = "this symmetry" if self.screw else f"C{symmetry.cyclic_order}"
        found = (
            f"The noise of the half maps obeys {what}, or a part of it:"
            if has_half_maps
            else f"The map obeys {what}, or a part of it, up to its highest frequencies, where maps have noise: "
            "unless it was computed without noise, or half maps say otherwise,"
        )
        if self.screw:
            return (
                f"{found} the symmetry was imposed before, and the search repeats it, true or not; its errors are "
                "unknown. Search maps refined without it, e.g. the half maps of a refinement without twist and rise."
            )
        return (
            f"{found} the point group was imposed before, and the search repeats it, true or not. Twist and rise are "
            "the map's own."
        )

    def note(self, symmetry: HelicalSymmetry) -> str:
        """What to say of a map that leaves something open."""
        what = "this symmetry, or errors," if self.screw is None else f"its C{symmetry.cyclic_order}"
        return (
            f"The map has no noise to judge {what} by. Either it was computed without, or the symmetry was imposed on "
            "it: then the search repeats it, true or not."
        )


def find_imposed(symmetry: HelicalSymmetry, filament: Filament, volume: Volume, half2: Volume | None = None) -> Imposed:
    """Whether a map has the copies of a symmetry, or a part of them, to more than its own noise allows.

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
    """
    if half2 is not None:
        difference = volume.with_data(normalised(volume).data - normalised(half2).data)
        return Imposed(
            *(
                bool(best > _OBEYED)
                for best in _best(symmetry, filament, difference, _noisy_shells(filament, volume, half2))
            )
        )
    power = smoothed(filament_power(volume, filament.outer_radius_A / volume.pixel_size_A))
    last = _last_shell(power)
    own = Judge(filament)
    k, scores = own.score_operators(symmetry)
    whole = own.score(symmetry)[0], _mean(scores[k == 0])
    best = _best(symmetry, filament, volume, _highest_shells(len(power), last))

    def is_imposed(best: float, whole: float) -> bool | None:
        fits = best > _OBEYED
        if fits and last == len(power) - 1:
            return True
        return None if whole > 1.0 - (_DEPARTURE if fits else INTERPOLATION_FLOOR) else False

    return Imposed(*map(is_imposed, best, whole))


def _noisy_shells(filament: Filament, half1: Volume, half2: Volume) -> Bool[np.ndarray, "s"]:
    """Where the half maps hardly agree; where they do up to the Nyquist frequency, the shells below it."""
    fsc, _ = smoothed_fsc(half1, half2, cylindrical_mask(half1.shape, filament.outer_radius_A / half1.pixel_size_A))
    # Without a mask, which would carry power into shells that a filter has emptied.
    whole = shell_correlation(jnp.asarray(half1.data), jnp.asarray(half2.data), jnp.ones(half1.shape, jnp.float32))
    power = np.asarray(whole[1], np.float64)
    is_noisy = (fsc < _NOISY_FSC) & (power > _EMPTY_POWER * power[1:].max())
    is_noisy[0] = False
    return is_noisy if is_noisy.any() else _highest_shells(len(power), _last_shell(power))


def _last_shell(power: Float[np.ndarray, "s"]) -> int:
    """The last one that holds anything; shell 0 is the mean."""
    return int(np.nonzero(power >= _EMPTY_POWER * power[1:].max())[0][-1])


def _highest_shells(count: int, last: int) -> Bool[np.ndarray, "s"]:
    shell = np.arange(count)
    return (shell > (1.0 - _HIGHEST_PART) * last) & (shell <= last)


def _best(
    symmetry: HelicalSymmetry, filament: Filament, volume: Volume, shells: Bool[np.ndarray, "s"]
) -> tuple[float, float]:
    """The best copy by a screw, and by a turn alone, of a map with the same power in every term of the chosen shells.

    One copy is enough: what was imposed may be any part of what was found.
    """
    power = smoothed(filament_power(volume, filament.outer_radius_A / volume.pixel_size_A))
    weights = np.where(shells, 1.0 / np.sqrt(np.maximum(power, 1e-30)), 0.0)
    white = np.asarray(apply_shell_weights(volume.data, (weights / weights.max()).astype(np.float32)))
    k, scores = Judge(filament.with_map(white)).score_operators(symmetry)
    return float(scores[k > 0].max(initial=-1.0)), float(scores[k == 0].max(initial=-1.0))


def _mean(scores: Float[np.ndarray, "l"]) -> float:
    return float(scores.mean()) if len(scores) else -1.0
