"""The symmetry search: from a map, or two half maps, to ranked and refined candidates."""

import time
from collections.abc import Callable
from dataclasses import replace

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.search.alignment import aligned_filament
from helixlab.search.filament import prepare_filament
from helixlab.search.imposed import prepare_noise
from helixlab.search.peaks import scan
from helixlab.search.result import SearchResult
from helixlab.search.settings import SearchSettings
from helixlab.search.verdict import judge_peaks

Progress = Callable[[str, float], None]
"""Called with what is being done and the part that is done, 0 to 1."""


def search_symmetry(
    volume: Volume,
    half2: Volume | None = None,
    settings: SearchSettings | None = None,
    *,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the helical symmetry of a map, without a hint.

    Parameters
    ----------
    volume : Volume
        A map of a filament along z, or half map 1.
    half2 : Volume, optional
        Half map 2. With it noise adds no bias and the standard errors come from the halves' difference; of one map they
        come from its departure from the symmetry.
    settings : SearchSettings, optional
    progress : callable, optional
        Called with a text and the part done, 0 to 1.

    Returns
    -------
    SearchResult
        At least one candidate; the warnings say what the map cannot tell, and whether it repeats a symmetry that was
        imposed on it before.

    Raises
    ------
    HelixLabError
        If the maps do not fit together, the ranges do not fit the box, or no screw correlates at all.

    Notes
    -----
    Correlation of the map with itself over all turns and shifts (:mod:`helixlab.kernels.correlate`); scores of
    all screws (:mod:`helixlab.search.landscape`); the highest peaks refined over ever more copies; the largest
    group that holds (:mod:`helixlab.search.judge`). An FSC cannot decide between symmetries that both fit
    (Egelman 2014, eLife 3:e04969, doi:10.7554/eLife.04969): rivals are listed and marked.

    Examples
    --------
    >>> from helixlab.geometry import HelicalSymmetry
    >>> from helixlab.simulate import builtin_unit, simulate_helix
    >>> truth = HelicalSymmetry(-101.1, 5.13)
    >>> sim = simulate_helix(builtin_unit(), truth, box=64, pixel_size_A=2.5, resolution_A=8.0)
    >>> found = search_symmetry(sim.volume).best.symmetry
    >>> found.is_equivalent(truth, twist_tol_deg=0.02, rise_tol_A=0.02)
    True
    """
    settings = settings or SearchSettings()
    tell = progress or (lambda _text, _part: None)
    start = time.perf_counter()
    tell("Sampling the map on cylinders", 0.05)
    filament = prepare_filament(
        volume, half2, inner_radius_A=settings.inner_radius_A, outer_radius_A=settings.outer_radius_A
    )
    tell("Scoring every twist and rise", 0.2)
    landscape, peaks = scan(filament, settings)
    axis, warnings, maps = None, [], (volume,) if half2 is None else (volume, half2)
    if settings.align_axis:
        tell("Checking where the axis lies", 0.4)
        aligned = aligned_filament(volume, half2, filament, settings)
        axis = aligned.report
        if axis.was_moved:
            filament = aligned.filament
            landscape, peaks = scan(filament, settings)
            maps = aligned.maps
            warnings.append(
                f"The helical axis was {aligned.description}; the map was straightened before the search. "
                "Write a straightened map with `helixlab align`."
            )
    if not peaks:
        raise HelixLabError(
            "volume: found no screw under which the map correlates with itself in the given ranges; "
            "check that the filament lies along z and widen the ranges."
        )
    tell("Judging the candidates", 0.7)
    verdict = judge_peaks(filament, settings, peaks)
    tell("Asking whether the symmetry was imposed", 0.9)
    candidates, symmetry = list(verdict.candidates), verdict.candidates[0].symmetry
    imposed = prepare_noise(filament, *maps).find_imposed(symmetry)
    if imposed.is_certain:
        warnings.append(imposed.warning(symmetry, has_half_maps=half2 is not None))
    # An error that comes from an assumption, not from noise, holds where there is none.
    if imposed.screw or (imposed.screw is None and not verdict.is_rise_assumed):
        candidates = [replace(c, twist_se_deg=None, rise_se_A=None) for c in candidates]
    if imposed.is_open:
        candidates[0] = replace(candidates[0], notes=(*candidates[0].notes, imposed.note(symmetry)))
    tell("Done", 1.0)
    return SearchResult(
        candidates=tuple(candidates),
        landscape=landscape,
        pairs_evaluated=landscape.n_pairs,
        seconds=time.perf_counter() - start,
        warnings=(*warnings, *verdict.warnings),
        resolution_A=filament.resolution_A,
        inner_radius_A=filament.inner_radius_A,
        outer_radius_A=filament.outer_radius_A,
        filament=filament,
        axis=axis,
        dyad_deg=verdict.dyad.azimuth_deg if verdict.dyad else None,
        dyad_z_A=verdict.dyad.z_A if verdict.dyad else None,
        imposed=imposed,
    )
