"""``helixlab search`` and ``helixlab audit``: find a map's symmetry, or check one that is claimed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helixlab.cli._console import (
    check_free,
    make_folder,
    print_json,
    print_table,
    progress_bar,
    reports_errors,
    warn,
)
from helixlab.cli._options import (
    Half2,
    InnerRadius,
    JsonOutput,
    MapFile,
    OuterRadius,
    OutputFolder,
    Overwrite,
    PixelSize,
    PointGroup,
    Rise,
    Twist,
)
from helixlab.cli._symmetry import HANDS

if TYPE_CHECKING:
    from helixlab.geometry import HelicalSymmetry
    from helixlab.search import SearchResult

_FILES = ("search.json", "candidates.csv", "candidates.cs", "landscape.png")


@reports_errors
def search(
    map_file: MapFile,
    half2: Half2 = None,
    twist_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--twist-range", metavar="LO HI", help="Twists searched in degrees; all if not given."),
    ] = None,
    rise_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--rise-range", metavar="LO HI", help="Rises searched in Å; 1 to 60 if not given."),
    ] = None,
    point_group: Annotated[str, typer.Option("--point-group", metavar="auto|Cn|Dn", help="auto finds it.")] = "auto",
    inner_radius_A: InnerRadius = None,
    outer_radius_A: OuterRadius = None,
    no_align: Annotated[
        bool, typer.Option("--no-align", help="Take z through the centre as the axis; do not look for it.")
    ] = False,
    max_candidates: Annotated[int | None, typer.Option("--max-candidates", help="How many are listed.")] = None,
    out: OutputFolder = None,
    pixel_size_A: PixelSize = None,
    overwrite: Overwrite = False,
    json_output: JsonOutput = False,
) -> None:
    """Find the helical symmetry of a map.

    Scores every twist and rise, and lists the best with standard errors and equivalent descriptions.
    With --out also candidates.csv, candidates.cs (CryoSPARC), landscape.png and search.json.
    """
    check_free([out / name for name in _FILES] if out else [], overwrite)
    from helixlab.io import read_volume
    from helixlab.search import SearchSettings, search_symmetry

    given = {
        "twist_range_deg": twist_range,
        "rise_range_A": rise_range,
        "point_group": point_group,
        "inner_radius_A": inner_radius_A,
        "outer_radius_A": outer_radius_A,
        "align_axis": False if no_align else None,
        "max_candidates": max_candidates,
    }
    settings = SearchSettings.from_sources(given=given)

    volume = read_volume(map_file, pixel_size_A=pixel_size_A)
    other = read_volume(half2, pixel_size_A=pixel_size_A) if half2 else None
    with progress_bar() as report:
        result = search_symmetry(volume, other, settings, progress=report)
    warn(result.warnings)
    if out:
        _write_search(make_folder(out), result, overwrite)
    if json_output:
        print_json(result.to_dict())
        return
    _print_result(result)
    if out:
        typer.echo(f"wrote {', '.join(str(out / name) for name in _FILES)}")


@reports_errors
def audit(
    map_file: MapFile,
    twist_deg: Twist,
    rise_A: Rise,
    point_group: PointGroup = "C1",
    half2: Half2 = None,
    pixel_size_A: PixelSize = None,
    json_output: JsonOutput = False,
) -> None:
    """Check values claimed for a map.

    Are these (deposited) values right for this map? Tells of sign, axis, order, multiples and Cn.
    The exit code says whether the audit ran, not what it found: read "verdict".
    """
    from helixlab.geometry import HelicalSymmetry

    symmetry = HelicalSymmetry(twist_deg, rise_A, point_group)
    from helixlab.io import read_volume
    from helixlab.search import audit_symmetry

    volume = read_volume(map_file, pixel_size_A=pixel_size_A)
    other = read_volume(half2, pixel_size_A=pixel_size_A) if half2 else None
    with progress_bar() as report:
        found = audit_symmetry(volume, symmetry, other, progress=report)
    told = [finding.message for finding in found.findings]
    warn([text for text in found.search.warnings if text not in told])
    if json_output:
        print_json(found.to_dict())
        return
    typer.echo(f"claimed:   {symmetry}")
    typer.echo(f"verdict:   {found.verdict}")
    for finding in found.findings:
        typer.echo(f"  [{finding.code}] {finding.message}")
    if found.suggested is not None:
        typer.echo(f"suggested: {found.suggested}")


def _write_search(folder: Path, result: "SearchResult", overwrite: bool) -> None:
    import numpy as np

    from helixlab.record import write_candidates_cs, write_candidates_csv, write_json, write_landscape_png

    described = result.to_dict()
    json_file, csv_file, cs_file, png_file = (folder / name for name in _FILES)
    write_json(json_file, described, overwrite=overwrite)
    write_candidates_csv(csv_file, described["candidates"], overwrite=overwrite)
    write_candidates_cs(cs_file, described["candidates"], overwrite=overwrite)
    plane = result.landscape
    twists, rises, score = (np.asarray(a) for a in (plane.twist_deg, plane.rise_A, plane.score))
    # Pairs that could not be compared hold -1 and would spoil the colour scale.
    score = np.where(score > -1, score, np.nan)
    marked = [_within(candidate.symmetry, float(twists[0]), float(twists[-1])) for candidate in result.candidates]
    write_landscape_png(png_file, twists, rises, score, marked=marked, overwrite=overwrite)


def _within(symmetry: "HelicalSymmetry", low_deg: float, high_deg: float) -> tuple[float, float]:
    """The description of a symmetry whose twist lies in a range, or the canonical one if none does."""
    descriptions = symmetry.equivalents()
    inside = [s for s in descriptions if low_deg <= s.twist_deg <= high_deg]
    chosen = (inside or descriptions)[0]
    return chosen.twist_deg, chosen.rise_A


def _print_result(result: "SearchResult") -> None:
    if not result.candidates:
        typer.echo("no candidate found")
        return
    rows = []
    for rank, candidate in enumerate(result.candidates, start=1):
        s = candidate.symmetry
        rows.append(
            [
                str(rank),
                _with_error(s.twist_deg, candidate.twist_se_deg),
                _with_error(s.rise_A, candidate.rise_se_A),
                s.point_group,
                f"{s.pitch_A:.2f}",
                f"{s.subunits_per_turn:.3f}",
                HANDS[s.hand],
                f"{candidate.score:.4f}",
                f"{candidate.mse:.4g}",
            ]
        )
    names = ["rank", "twist (°)", "rise (Å)", "group", "pitch (Å)", "subunits/turn", "hand", "score", "MSE"]
    print_table(names, rows)
    for rank, candidate in enumerate(result.candidates, start=1):
        for other in candidate.indistinguishable_from:
            typer.echo(f"{rank} cannot be told from {other + 1} at this resolution")
        for note in candidate.notes:
            typer.echo(f"{rank}: {note}")
    best = result.candidates[0].symmetry
    others = "; ".join(str(s) for s in best.equivalents()[1:])
    if others:
        typer.echo(f"1 is the same as: {others}")
    typer.echo(f"{result.pairs_evaluated} pairs of twist and rise in {result.seconds:.2f} s")


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"
