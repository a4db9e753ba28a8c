"""Straightening a map before its symmetry is known: axis and screw are found together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.kernels.fourier import low_pass
from helixlab.search.axis import NEGLIGIBLE_PX, Axis, AxisReport, axis_from_mass, refine_axis, straighten_volume
from helixlab.search.filament import Filament, normalised, prepare_filament
from helixlab.search.judge import Judge
from helixlab.search.peaks import Peak, scan
from helixlab.search.settings import SearchSettings
from helixlab.search.verdict import base_screw

_COARSE_A = 12.0
"""Resolution of the first fit: it finds an axis several Å away."""

_ROUNDS = 4

_WELL_ALIGNED_SCORE = 0.98
"""A map (or, corrected for noise, a pair of half maps) that fits itself this well needs no other axis."""

_LEAST_GAIN = 2e-3
"""Moving costs a resampling: it must pay."""

_SHORT_PART = 0.3
"""Lags that serve to find the axis, as a part of the map's length: about a wrong axis far copies fit no more, and a
screw with one copy may score better by chance than the true one with many."""

_CHANCE_PART = 0.05
"""Of what noise takes from a single map's score, the part that a wrong axis may win back by chance."""

_NEAR_PX = 2.0
_FAR_PX = 15.0

_GOOD_PART = 0.95
"""Screws that score at least this part of the best serve to find the axis: about a wrong axis true ones lose some."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """A filament about its own axis, and the map, or the half maps, moved there."""

    filament: Filament
    maps: tuple[Volume, ...]
    report: AxisReport

    @property
    def description(self) -> str:
        """Where the axis was, in words."""
        x_A, y_A = self.report.offset_A
        distance_A = math.hypot(x_A, y_A)
        return f"{distance_A:.1f} Å off the centre (x {x_A:.1f}, y {y_A:.1f}) and {self.report.tilt_deg:.2f}° off z"


def align_axis(volume: Volume, symmetry: HelicalSymmetry | None = None) -> tuple[Volume, AxisReport]:
    """Bring a filament's helical axis onto z through the centre of the box.

    Parameters
    ----------
    volume : Volume
        A filament whose axis is within about 5° of z and 10 voxels of the centre.
    symmetry : HelicalSymmetry, optional
        Its symmetry, if known; otherwise found on the way.

    Returns
    -------
    aligned : Volume
        Resampled by cubic splines; the very same map if its axis was within a tenth of a voxel of its place.
    report : AxisReport

    Raises
    ------
    HelixLabError
        If the map is constant or smaller than 16 voxels.
    """
    alignment = aligned_filament(volume, None, prepare_filament(volume), SearchSettings(), symmetry)
    return alignment.maps[0], alignment.report


def aligned_filament(
    volume: Volume,
    half2: Volume | None,
    filament: Filament,
    settings: SearchSettings,
    symmetry: HelicalSymmetry | None = None,
) -> Alignment:
    """The filament about the axis that gives its screws the best score.

    Nothing is moved when the map fits itself well about z and a better axis would gain nothing. Otherwise the axis
    is refined from z and from the line through the sections' centres of mass; the better score wins, if it beats
    the unmoved map by more than the noise. Half maps are moved alike. Without a known symmetry the screws come from
    a scan over near copies.
    """
    maps = (volume,) if half2 is None else (volume, half2)
    total = volume.with_data(np.mean([normalised(one).data for one in maps], axis=0))
    best, best_score, starts = Alignment(filament, maps, Axis().report(was_moved=False)), -1.0, []
    least_gain = _LEAST_GAIN
    short = _short_lags(filament)
    peaks = scan(short, settings)[1] if symmetry is None else [Peak(symmetry, Judge(short).score(symmetry)[0])]
    if peaks:
        screw = base_screw(short, peaks)
        best_score = next(p.score for p in peaks if p.symmetry is screw)
        chance = 2 * Judge(short).score_error(screw) if half2 is not None else _CHANCE_PART * (1.0 - best_score)
        least_gain = max(least_gain, chance)
        found = refine_axis(total, _locating_screw(peaks), Axis(), outer_radius_A=filament.outer_radius_A)
        is_central = best_score > _WELL_ALIGNED_SCORE or axis_from_mass(total).distance_px(total) < _NEAR_PX
        if is_central and found.gain < least_gain:
            return best
        if found.axis.distance_px(total) < _FAR_PX:
            starts.append(found.axis)
    for start in (*starts, axis_from_mass(total)):
        axis, moved, score = _climb(total, maps, start, settings)
        if moved is not None and score > best_score + least_gain and axis.distance_px(total) > NEGLIGIBLE_PX:
            best, best_score = moved, score
        if best_score > _WELL_ALIGNED_SCORE:
            break
    return best


def _climb(
    total: Volume, maps: Sequence[Volume], start: Axis, settings: SearchSettings
) -> tuple[Axis, Alignment | None, float]:
    """Refine the axis, coarsely first, and bring the maps onto it."""
    axis = start
    for round_ in range(_ROUNDS):
        low_pass_A = max(_COARSE_A, 4 * total.pixel_size_A) if round_ == 0 else None
        seen = maps if low_pass_A is None else [_filtered(one, low_pass_A) for one in maps]
        filament = _about(axis, seen, settings).filament
        peaks = scan(_short_lags(filament), settings)[1]
        if not peaks:
            return axis, None, -1.0
        new = refine_axis(
            total, _locating_screw(peaks), axis, outer_radius_A=filament.outer_radius_A, low_pass_A=low_pass_A
        ).axis
        change = Axis(new.x_A - axis.x_A, new.y_A - axis.y_A, new.lean_x - axis.lean_x, new.lean_y - axis.lean_y)
        if new.distance_px(total) > min(total.shape) / 4:
            return axis, None, -1.0
        axis = new
        if round_ > 0 and change.distance_px(total) < NEGLIGIBLE_PX:
            break
    moved = _about(axis, maps, settings)
    short = _short_lags(moved.filament)
    return axis, moved, _best_score(short, scan(short, settings)[1])


def _short_lags(filament: Filament) -> Filament:
    """The filament with only those lags that bear a wrong axis."""
    longest = jnp.float32(_SHORT_PART * filament.length_A)
    return replace(filament, limits=filament.limits._replace(max_z_A=longest))


def _about(axis: Axis, maps: Sequence[Volume], settings: SearchSettings) -> Alignment:
    moved = tuple(straighten_volume(one, axis) if axis != Axis() else one for one in maps)
    radii = {"inner_radius_A": settings.inner_radius_A, "outer_radius_A": settings.outer_radius_A}
    return Alignment(prepare_filament(*moved, **radii), moved, axis.report(was_moved=True))


def _filtered(volume: Volume, low_pass_A: float) -> Volume:
    return volume.with_data(np.asarray(low_pass(volume.data, volume.pixel_size_A / low_pass_A)))


def _locating_screw(peaks: Sequence[Peak]) -> HelicalSymmetry:
    """Of the screws that fit well, the one that turns most nearly by half a turn.

    A screw by a small angle barely tells where its axis is: moving the axis by d moves the copy by
    2·d·sin(twist/2).
    """
    best = max(p.score for p in peaks)
    good = [p.symmetry for p in peaks if p.score >= best - (1.0 - _GOOD_PART) * abs(best)]
    return max(good, key=lambda s: (round(abs(math.sin(math.radians(s.twist_deg) / 2)), 1), -s.rise_A))


def _best_score(filament: Filament, peaks: Sequence[Peak]) -> float:
    if not peaks:
        return -1.0
    screw = base_screw(filament, peaks)
    return next(p.score for p in peaks if p.symmetry is screw)
