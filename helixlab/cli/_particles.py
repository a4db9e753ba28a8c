"""``helixlab simulate-particles``: filament segments of known symmetry and poses, as RELION and CryoSPARC read them."""

from pathlib import Path
from typing import Annotated

import typer

from helixlab.cli._console import names_set_values, print_json, progress_bar, reports_errors
from helixlab.cli._list_settings import ListParticleSettings
from helixlab.cli._options import (
    JsonOutput,
    OuterRadius,
    Overwrite,
    PointGroup,
    Rise,
    SettingsFile,
    SetValues,
    Twist,
)

_MAP_ENDINGS = (".mrc", ".map", ".ccp4")


@reports_errors
def simulate_particles(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|MAP|builtin", help="PDB or mmCIF file, map, or the word builtin.")
    ],
    twist_deg: Twist,
    rise_A: Rise,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for images, tables and truth/.")],
    point_group: PointGroup = "C1",
    filaments: Annotated[int | None, typer.Option("--filaments", metavar="N", help="Number of filaments.")] = None,
    segments: Annotated[int | None, typer.Option("--segments", metavar="N", help="Segments of each filament.")] = None,
    distance_A: Annotated[
        float | None, typer.Option("--distance", metavar="A", help="Between neighbouring boxes, Å.")
    ] = None,
    box: Annotated[int | None, typer.Option("--box", metavar="N", help="Pixels along each edge.")] = None,
    pixel_size_A: Annotated[float | None, typer.Option("--pixel-size", metavar="A", help="Å per pixel.")] = None,
    outer_radius_A: OuterRadius = None,
    resolution_A: Annotated[
        float | None, typer.Option("--resolution", metavar="A", help="Low-pass of a model, Å; 2.4 pixels if not given.")
    ] = None,
    snr: Annotated[
        float | None, typer.Option("--snr", metavar="S", min=0, help="Signal over noise, variances; 0: no noise.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="K", help="The same seed, the same images.")] = None,
    settings_file: SettingsFile = None,
    values: SetValues = None,
    list_all: ListParticleSettings = False,
    overwrite: Overwrite = False,
    json_output: JsonOutput = False,
) -> None:
    """Make filament segments of known symmetry and poses.

    Filaments on micrographs with CTF and noise are cut into overlapping segments. Writes particles.mrcs,
    particles.star and particles.cs, and what is true of them into the folder truth.
    """
    given = {
        "n_filaments": filaments,
        "segments_per_filament": segments,
        "inter_box_distance_A": distance_A,
        "box_px": box,
        "pixel_size_A": pixel_size_A,
        "outer_radius_A": outer_radius_A,
        "seed": seed,
    }
    from helixlab import simulate
    from helixlab.geometry import HelicalSymmetry
    from helixlab.io import read_volume

    with names_set_values(values, given):
        settings = simulate.ParticleSettings.from_sources(settings_file, values or [], given)
    if snr is not None:  # one option for all groups
        settings = settings.replaced(optics=[group.replaced(snr=snr or None) for group in settings.optics])
    symmetry = HelicalSymmetry(twist_deg, rise_A, point_group)
    is_map = model.lower().removesuffix(".gz").removesuffix(".bz2").endswith(_MAP_ENDINGS)
    with progress_bar() as report:
        made = simulate.simulate_particles(
            read_volume(model) if is_map else model,
            symmetry,
            out,
            settings,
            resolution_A=resolution_A,
            overwrite=overwrite,
            progress=report,
        )
    if json_output:
        truth = simulate.truth_values(made)
        print_json({"files": made.files, "n_segments": len(made.truth), **truth, "model": model})
        return
    typer.echo(f"simulated {len(made.truth)} segments of {len(made.filaments)} filaments, {symmetry}")
    typer.echo(f"wrote {', '.join(map(str, made.files.values()))}")
