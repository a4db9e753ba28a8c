"""``helixlab check``: is this set-up fit for a refinement?"""

from pathlib import Path
from typing import Annotated

import typer

from helixlab.cli._console import names_set_values, print_json, progress_bar, reports_errors, segments_in_words
from helixlab.cli._list_settings import ListRefinementSettings
from helixlab.cli._options import ImagesRoot, JsonOutput, Passthrough, SettingsFile, SetValues, in_option_words

UNFIT = 1
"""Exit code where an error was found; input that cannot be read at all ends with another."""


@reports_errors
def check(
    particles: Annotated[Path, typer.Argument(metavar="PARTICLES", help="STAR file, or .cs of CryoSPARC.")],
    settings_file: SettingsFile = None,
    values: SetValues = None,
    twist_deg: Annotated[float | None, typer.Option("--twist", metavar="DEG", help="Of the refinement.")] = None,
    rise_A: Annotated[float | None, typer.Option("--rise", metavar="A", help="Of the refinement, Å.")] = None,
    point_group: Annotated[
        str | None, typer.Option("--point-group", metavar="Cn|Dn", help="Of the refinement.")
    ] = None,
    images_root: ImagesRoot = None,
    passthrough: Passthrough = None,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Read the headers of the image files, not every image.")
    ] = False,
    list_all: ListRefinementSettings = False,
    json_output: JsonOutput = False,
) -> None:
    """Check particles and settings before a refinement.

    Says what is wrong or doubtful, by row, and what to do: box, rises, filaments, half-sets, priors, CTF, bad images,
    duplicates, pixel sizes. The exit code is 1 if there is an error, else 0.
    """
    from helixlab.io import read_particles
    from helixlab.reconstruct import RefinementSettings, check_set_up

    given = {"twist_deg": twist_deg, "rise_A": rise_A, "point_group": point_group}
    with names_set_values(values, given):
        settings = RefinementSettings.from_sources(settings_file, values or [], given)
    stack = read_particles(particles, images_root=images_root, passthrough=passthrough or ())
    with progress_bar() as report:
        findings = check_set_up(stack, settings, read_images=not no_images, progress=report)
    counts = {kind: sum(f.severity == kind for f in findings) for kind in ("error", "warning", "note")}
    if json_output:
        about = {"particles": particles, "n_segments": len(stack), "n_filaments": stack.n_filaments}
        totals = {f"n_{kind}s": count for kind, count in counts.items()}
        print_json({**about, **totals, "findings": [finding.to_dict() for finding in findings]})
    else:
        for finding in findings:
            typer.echo(f"{finding.severity:<7} [{finding.code}] {in_option_words(str(finding))}")
        counted = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
        typer.echo(f"{segments_in_words(len(stack), stack.n_filaments)}: {counted}")
    if counts["error"]:
        raise typer.Exit(UNFIT)
