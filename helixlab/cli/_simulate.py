"""``helixlab simulate``: a filament of known symmetry, from an atomic model or the built-in structure."""

from pathlib import Path
from typing import Annotated

import typer

from helixlab.cli._console import check_free, print_json, progress_bar, reports_errors
from helixlab.cli._options import JsonOutput, Overwrite, PointGroup, Rise, Twist


@reports_errors
def simulate(
    model: Annotated[str, typer.Argument(metavar="MODEL|builtin", help="PDB or mmCIF file, or the word builtin.")],
    twist_deg: Twist,
    rise_A: Rise,
    box: Annotated[int, typer.Option("--box", metavar="N", help="Voxels along each edge.")],
    pixel_size_A: Annotated[float, typer.Option("--pixel-size", metavar="A", help="Å per voxel.")],
    resolution_A: Annotated[float, typer.Option("--resolution", metavar="A", help="Low-pass, Å.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the maps and the truth.")],
    point_group: PointGroup = "C1",
    noise: Annotated[
        float, typer.Option("--noise", metavar="S", help="Noise of each half map over the signal's spread; 0: none.")
    ] = 0.0,
    fsc_resolution_A: Annotated[
        float | None,
        typer.Option("--fsc-resolution", metavar="A", help="In place of --noise: half-map FSC 0.143 here, Å."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="K", min=0, help="The same seed gives the same noise.")] = 0,
    offset_px: Annotated[
        tuple[float, float], typer.Option("--offset", metavar="X Y", help="Axis off the centre, voxels.")
    ] = (0.0, 0.0),
    tilt_deg: Annotated[float, typer.Option("--tilt", metavar="DEG", help="Axis tilted away from z.")] = 0.0,
    overwrite: Overwrite = False,
    json_output: JsonOutput = False,
) -> None:
    """Make a filament of known symmetry.

    Writes the map, and with noise the half maps, of a model or of the built-in structure.
    """
    check_free([out / name for name in ("map.mrc", "half1.mrc", "half2.mrc", "truth.json")], overwrite)
    from helixlab.geometry import HelicalSymmetry

    symmetry = HelicalSymmetry(twist_deg, rise_A, point_group)
    from helixlab.simulate import simulate_helix, simulation_parameters, write_simulation

    with progress_bar() as report:
        report("simulating", 0.5)
        simulated = simulate_helix(
            model,
            symmetry,
            box=box,
            pixel_size_A=pixel_size_A,
            resolution_A=resolution_A,
            noise=noise,
            fsc_resolution_A=fsc_resolution_A,
            seed=seed,
            offset_px=offset_px,
            tilt_deg=tilt_deg,
        )
        files = write_simulation(out, simulated, overwrite=overwrite)
    if json_output:
        print_json({"files": files, **simulation_parameters(simulated)})
        return
    typer.echo(f"simulated {symmetry}")
    if simulated.noise.fsc_resolution_A is not None:
        typer.echo(f"half maps: FSC 0.143 expected at {simulated.noise.fsc_resolution_A:.2f} Å")
    typer.echo(f"wrote {', '.join(map(str, files.values()))}")
