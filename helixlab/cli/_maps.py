"""Commands on maps: ``info``, ``align``, ``impose`` and ``fsc``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helixlab.cli._console import (
    check_free,
    check_free_file,
    make_folder,
    print_json,
    print_table,
    progress_bar,
    reports_errors,
    warn,
)
from helixlab.cli._options import (
    InnerRadius,
    JsonOutput,
    MapFile,
    OuterRadius,
    OutputFolder,
    OutputMap,
    Overwrite,
    PixelSize,
    PointGroup,
    Rise,
    Twist,
)

if TYPE_CHECKING:
    from helixlab.validate import FSCResult


@reports_errors
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Map, image stack, STAR or .cs file, or model.")],
    json_output: JsonOutput = False,
) -> None:
    """Say what a file holds.

    Kind, size, voxel, values, columns: whatever its format has.
    """
    from helixlab.io import describe_file

    described = describe_file(file)
    if json_output:
        print_json(described)
        return
    for line in _lines_of(described):
        typer.echo(line)


@reports_errors
def align(
    map_file: MapFile,
    output: OutputMap,
    pixel_size_A: PixelSize = None,
    overwrite: Overwrite = False,
    json_output: JsonOutput = False,
) -> None:
    """Centre and straighten the helical axis.

    The map is turned and shifted until its axis is z through the centre of the box.
    """
    check_free_file(output, overwrite)
    from helixlab.io import read_volume, write_volume
    from helixlab.search import align_axis

    volume = read_volume(map_file, pixel_size_A=pixel_size_A)
    aligned, report = align_axis(volume)
    write_volume(output, aligned, overwrite=overwrite)
    if json_output:
        print_json({"output": output, **report.to_dict()})
        return
    x_A, y_A = report.offset_A
    found = f"x {x_A:.2f} Å, y {y_A:.2f} Å and tilted by {report.tilt_deg:.2f}°"
    if report.was_moved:
        typer.echo(f"axis was off by {found}")
    else:
        typer.echo(f"axis is in place ({found}); the map is written as it was")
    typer.echo(f"wrote {output}")


@reports_errors
def impose(
    map_file: MapFile,
    twist_deg: Twist,
    rise_A: Rise,
    output: OutputMap,
    point_group: PointGroup = "C1",
    z_fraction: Annotated[
        float, typer.Option("--z-fraction", help="Middle part of the box's height whose density is used, 0 to 1.")
    ] = 0.3,
    inner_radius_A: InnerRadius = None,
    outer_radius_A: OuterRadius = None,
    pixel_size_A: PixelSize = None,
    overwrite: Overwrite = False,
    json_output: JsonOutput = False,
) -> None:
    """Impose a helical symmetry on a map.

    The average over all copies of the middle part of the box, continued to its ends. For Dn the dyad is found in
    the map first.
    """
    check_free_file(output, overwrite)
    from helixlab.geometry import HelicalSymmetry

    symmetry = HelicalSymmetry(twist_deg, rise_A, point_group)
    from helixlab.io import read_volume, write_volume
    from helixlab.kernels.symmetrize import impose_symmetry

    volume = read_volume(map_file, pixel_size_A=pixel_size_A)
    dyad_deg, dyad_z_A = None, None
    if symmetry.is_dihedral:
        from helixlab.search import find_dyad, prepare_filament

        dyad = find_dyad(
            prepare_filament(volume, inner_radius_A=inner_radius_A, outer_radius_A=outer_radius_A), symmetry
        )
        dyad_deg, dyad_z_A = dyad.azimuth_deg, dyad.z_A
    imposed = impose_symmetry(
        volume,
        symmetry,
        z_fraction=z_fraction,
        outer_radius_A=outer_radius_A,
        inner_radius_A=inner_radius_A or 0.0,
        dyad_deg=dyad_deg or 0.0,
        dyad_z_A=dyad_z_A or 0.0,
    )
    write_volume(output, imposed, overwrite=overwrite)
    if json_output:
        used = {"twist_deg": twist_deg, "rise_A": rise_A, "point_group": symmetry.point_group}
        print_json({"output": output} | used | {"dyad_deg": dyad_deg, "dyad_z_A": dyad_z_A})
        return
    typer.echo(f"imposed {symmetry}")
    if dyad_deg is not None:
        typer.echo(f"dyad at {dyad_deg:.2f}° from +x, {dyad_z_A:.2f} Å above the centre")
    typer.echo(f"wrote {output}")


@reports_errors
def fsc(
    half1: Annotated[Path, typer.Argument(metavar="HALF1", help="First half map.")],
    half2: Annotated[Path, typer.Argument(metavar="HALF2", help="Second half map.")],
    mask: Annotated[Path | None, typer.Option("--mask", metavar="MASK", help="Mask on the same grid, 0 to 1.")] = None,
    out: OutputFolder = None,
    pixel_size_A: PixelSize = None,
    overwrite: Overwrite = False,
    json_output: JsonOutput = False,
) -> None:
    """Correlate two half maps shell by shell.

    FSC unmasked, in a soft sphere, and in a mask if one is given, with the resolutions at 0.143 and 0.5.
    With --out also fsc.csv, fsc.png and fsc.json.
    """
    files = [out / name for name in ("fsc.json", "fsc.csv", "fsc.png")] if out else []
    check_free(files, overwrite)
    from helixlab.io import read_volume
    from helixlab.validate import compute_fsc

    volumes = [read_volume(path, pixel_size_A=pixel_size_A) for path in (half1, half2)]
    mask_volume = read_volume(mask, pixel_size_A=pixel_size_A) if mask else None
    with progress_bar() as report:
        report("correlating shells", 0.5)
        result = compute_fsc(*volumes, mask=mask_volume)
    warn(result.notes)
    if out:
        _write_fsc(files, make_folder(out), result, overwrite)
    if json_output:
        print_json(result.to_dict())
        return
    rows = [[c.label, str(c.crossing(0.143)), str(c.crossing(0.5))] for c in result.curves]
    print_table(["curve", "FSC 0.143", "FSC 0.5"], rows)
    if out:
        typer.echo(f"wrote {', '.join(map(str, files))}")


def _write_fsc(files: list[Path], folder: Path, result: "FSCResult", overwrite: bool) -> None:
    from helixlab.record import write_fsc_csv, write_fsc_png, write_json

    json_file, csv_file, png_file = (folder / f.name for f in files)
    write_json(json_file, result.to_dict(), overwrite=overwrite)
    write_fsc_csv(csv_file, result, overwrite=overwrite)
    write_fsc_png(png_file, result.curves, overwrite=overwrite)


def _lines_of(described: dict[str, Any], indent: str = "") -> list[str]:
    """A description as lines of name and value; what is nested is indented, one line for each item of a list."""
    width = max(map(len, described), default=0)
    lines = []
    for name, value in described.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_lines_of(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{indent}{name}")
            lines += [f"{indent}  " + ", ".join(f"{k} {_as_text(v)}" for k, v in item.items()) for item in value]
        else:
            lines.append(f"{indent}{name:<{width}}  {_as_text(value)}")
    return lines


def _as_text(value: Any) -> str:
    if value is None or value in ([], (), ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_as_text(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
