"""Does the noise of a map obey a symmetry? Then that symmetry was imposed on it, and a search repeats it."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from helixlab.geometry import HelicalSymmetry, Volume, axis_coordinates
from helixlab.kernels.fourier import apply_shell_weights
from helixlab.search.filament import Filament, normalised, power_per_term, smoothed
from helixlab.search.judge import INTERPOLATION_FLOOR, Judge

_OBEYED = 0.65
"""Noise that correlates with one of its copies by more than this was averaged over them. Measured in half maps: at most
0.1 without symmetry, up to 0.5 where segments of one filament overlap and bring their common noise to several copies;
0.8 to 1.0 after an average, be it over a few neighbours. In the highest shells of single maps, which may hold some
signal, at most 0.5 without an average."""

_HIGHEST_PART = 0.2
"""Part of the shells that hold anything, the highest ones, in which maps are taken to be noise. A single map whose half
maps would agree even there, as binned ones may, is mistaken for one on which a symmetry was imposed."""

_EMPTY_POWER = 1e-7
"""Shells with less power per term, as a part of the greatest, hold the tail of a filter or rounding. Measured in the
highest shells: 1e-8 to 1e-10 in maps computed at three voxels' resolution, 1e-6 and more in reconstructions."""

_LEAST_POWER = 0.1
"""Shells with a smaller part of the power of the strongest one looked at are not raised to it: they may be a filter's
edge."""

_DEPARTURE = 0.05
"""A map that lacks more of its copies than this has noise, though its highest shells, the tail of a filter, may not."""

_MIDDLE_PART = 0.4
"""How far from the middle noise is looked at, and the longest shift at which it is compared, as parts of the length."""


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

    def remark(self, symmetry: HelicalSymmetry) -> str:
        """The gravest of it in few words, of a symmetry that was asked about; empty where noise obeys nothing.

        Examples
        --------
        >>> Imposed(screw=False, point_group=True).remark(HelicalSymmetry(29.4, 21.8, "C6"))
        'C6 seems to have been imposed before: the noise obeys it, and no score speaks for it'
        """
        is_screw = bool(self.screw) if self.is_certain else self.screw is None
        what = "this symmetry, or a part of it," if is_screw else f"C{symmetry.cyclic_order}"
        if self.is_certain:
            return f"{what} seems to have been imposed before: the noise obeys it, and no score speaks for it"
        return f"the map has no noise to tell whether {what} was imposed before" if self.is_open else ""


@dataclass(frozen=True, eq=False)
class NoiseCopies:
    """A map and its noise, each correlated with itself: it tells of any symmetry whether it was imposed.

    Made once for a map by :func:`prepare_noise`.

    Parameters
    ----------
    filament : Filament
        Of the map, or its half maps.
    noise : Filament
        Of the noise, at short shifts.
    reaches_nyquist : bool
        Whether the map has something in its last shell.
    """

    filament: Filament
    noise: Filament
    reaches_nyquist: bool

    def find_imposed(self, symmetry: HelicalSymmetry) -> Imposed:
        """Whether the map has the copies of a symmetry, or a part of them, to more than its own noise allows."""
        # One copy is enough: what was imposed may be any part of what was found.
        by_screw, by_turn = (float(scores.max(initial=-1.0)) for scores in _copies(self.noise, symmetry))
        if self.filament.has_half_maps:
            return Imposed(by_screw > _OBEYED, by_turn > _OBEYED)
        _, turns = _copies(self.filament, symmetry)
        turned = float(turns.mean()) if len(turns) else -1.0
        score = Judge(self.filament).score(symmetry)[0]
        return Imposed(self._of_one_map(by_screw, score), self._of_one_map(by_turn, turned))

    def _of_one_map(self, best: float, on_the_whole: float) -> bool | None:
        fits = best > _OBEYED
        if fits and self.reaches_nyquist:
            return True
        return None if on_the_whole > 1.0 - (_DEPARTURE if fits else INTERPOLATION_FLOOR) else False


def prepare_noise(filament: Filament, volume: Volume, half2: Volume | None = None) -> NoiseCopies:
    """Correlate the noise of a map with itself.

    From half maps this is rigorous: their difference is noise, and noise obeys a symmetry only if it was given it. One
    map is noise, if anywhere, in its highest shells.

    Parameters
    ----------
    filament : Filament
        Of these maps.
    volume : Volume
        The map, or half map 1, with its axis along z.
    half2 : Volume, optional
        Half map 2.
    """
    middle = _middle(volume)
    power = _power(middle)
    last = int(np.nonzero(power >= _EMPTY_POWER * power.max())[0][-1])
    shell = np.arange(len(power))
    highest = (shell > (1.0 - _HIGHEST_PART) * last) & (shell <= last)
    noise = middle if half2 is None else middle.with_data(middle.data - _middle(half2).data)
    near = filament.limits._replace(max_z_A=jnp.float32(_MIDDLE_PART * filament.length_A))
    white = filament.with_map(_whitened(noise, highest))
    return NoiseCopies(filament, replace(white, limits=near), last == len(power) - 1)


def _middle(volume: Volume) -> Volume:
    """The map without its mean, fading towards its ends: in the highest shells of a filtered map a cut would be all."""
    z = axis_coordinates(volume.shape[0]) / (_MIDDLE_PART * volume.shape[0])
    window = np.cos(np.pi / 2 * np.clip(z, -1.0, 1.0)) ** 2
    return volume.with_data((normalised(volume).data * window[:, None, None]).astype(np.float32))


def _power(volume: Volume) -> Float[np.ndarray, "s"]:
    """Per term of each shell; without a mask, which would carry power into shells that a filter has emptied."""
    power = power_per_term(volume, jnp.ones(volume.shape, jnp.float32))
    # Shell 0 is the mean, which is not looked at.
    return smoothed(np.concatenate([power[1:2], power[1:]]))


def _whitened(volume: Volume, shells: Bool[np.ndarray, "s"]) -> Float[np.ndarray, "z y x"]:
    """A map with the same power in every term of the chosen shells, and nothing elsewhere."""
    power = _power(volume)
    power = np.maximum(power / max(power[shells].max(), 1e-30), _LEAST_POWER)
    weights = np.where(shells, 1.0 / np.sqrt(power), 0.0).astype(np.float32)
    return np.asarray(apply_shell_weights(volume.data, weights))


def _copies(
    filament: Filament, symmetry: HelicalSymmetry
) -> tuple[Float[np.ndarray, "screws"], Float[np.ndarray, "turns"]]:
    """Correlations with each copy that a screw moves, and with those by a turn alone."""
    screw_power, scores = Judge(filament).score_operators(symmetry)
    return scores[screw_power > 0], scores[screw_power == 0]
