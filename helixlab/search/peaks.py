"""Maxima of a landscape, refined."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from helixlab.geometry import HelicalSymmetry, parse_point_group
from helixlab.kernels.lags import refine_screws
from helixlab.search.filament import Filament
from helixlab.search.landscape import Landscape, compute_landscape, search_axes
from helixlab.search.settings import SearchSettings

_ROUNDS = ((12, 256), (24, 64), (48, 64), (1024, 64))
"""Copies compared, and peaks kept, in each round: more copies make narrower peaks, so they come step by step."""


_SAME = {"twist_tol_deg": 0.02, "rise_tol_A": 0.02}
"""Climbs that end this close have reached one maximum: Newton's method leaves far less."""


@dataclass(frozen=True)
class Peak:
    """A screw at a maximum of the score over all its copies."""

    symmetry: HelicalSymmetry
    score: float


def scan(filament: Filament, settings: SearchSettings) -> tuple[Landscape, list[Peak]]:
    """The whole plane, and its maxima refined."""
    _, order = parse_point_group("C1" if settings.point_group == "auto" else settings.point_group)
    twist_deg, rise_A = search_axes(filament, settings.twist_range_deg, settings.rise_range_A)
    landscape = compute_landscape(filament, twist_deg, rise_A, cyclic_order=order)
    return landscape, refined_peaks(filament, landscape, f"C{order}")


def refined_peaks(filament: Filament, landscape: Landscape, point_group: str = "C1") -> list[Peak]:
    """The landscape's maxima refined over ever more copies, best first; empty if there are none.

    Peaks that climb out of the landscape's range of rises are dropped.
    """
    correlation = filament.folded(parse_point_group(point_group)[1])
    twist, rise = landscape.peaks(_ROUNDS[0][1])
    if not len(twist):
        return []
    score = np.empty(0)
    for max_steps, keep in _ROUNDS:
        pad = max(0, keep - len(twist))
        fit = refine_screws(
            correlation,
            filament.limits,
            jnp.asarray(np.pad(twist[:keep], (0, pad), mode="edge"), jnp.float32),
            jnp.asarray(np.pad(rise[:keep], (0, pad), mode="edge"), jnp.float32),
            jnp.float32(max_steps),
        )
        twist, rise, score = (np.asarray(a, float) for a in fit)
        best = np.argsort(-score, kind="stable")
        twist, rise, score = twist[best], rise[best], score[best]
    low, high = landscape.rise_A[0], landscape.rise_A[-1]
    peaks: list[Peak] = []
    for t, r, s in zip(twist, rise, score, strict=True):
        if s > 0 and 0.99 * low <= r <= 1.01 * high:
            symmetry = HelicalSymmetry(t, r, point_group).canonical()
            if not any(symmetry.is_equivalent(p.symmetry, **_SAME) for p in peaks):
                peaks.append(Peak(symmetry, float(s)))
    return peaks
