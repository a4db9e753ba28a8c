"""``helixlab lab``: JupyterLab with the tutorials, in a folder of the user's own."""

import filecmp
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from helixlab.cli._console import reports_errors
from helixlab.cli._options import Overwrite
from helixlab.errors import HelixLabError


@reports_errors
def lab(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the tutorials are copied to.")] = Path(
        "helixlab-tutorials"
    ),
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser window.")] = False,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port of the server.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Start JupyterLab with the tutorials.

    They are copied to DIR first. Notebooks there that you edited are kept.
    """
    kept = copy_tutorials(find_tutorials(), folder, overwrite=overwrite)
    for path in kept:
        typer.echo(f"note: {path} differs from the tutorial and is kept; --overwrite replaces it.", err=True)
    typer.echo(f"Tutorials are in {folder.absolute()}; starting JupyterLab there.", err=True)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.absolute()}"]
    command += ["--no-browser"] if no_browser else []
    command += [f"--port={port}"] if port is not None else []
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In a container there is often no other user, and Jupyter refuses to start for this one unless told.
        typer.echo("note: you are root, so that every notebook is too; JupyterLab is told to allow it.", err=True)
        command.append("--allow-root")
    os.execv(sys.executable, command)


def find_tutorials() -> Path:
    """The folder of tutorials: inside the installed package, or the checkout's for an editable install.

    Raises
    ------
    HelixLabError
        If neither holds a notebook.
    """
    # The package is located, not imported: its widgets would take seconds to load and are of no use here.
    spec = importlib.util.find_spec("helixlab_widgets")
    packages = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    folders = [f for p in packages for f in (p / "notebooks", p.parent.parent / "notebooks")]
    for folder in folders:
        if any(folder.glob("*.ipynb")):
            return folder
    looked = " and ".join(str(f) for f in folders) or "no installed package helixlab_widgets"
    raise HelixLabError(f"lab: found no tutorial in {looked}; install HelixLab again.")


def copy_tutorials(source: Path, target: Path, *, overwrite: bool = False) -> list[Path]:
    """Copy all tutorials and what goes with them; files that differ are kept and returned unless ``overwrite``."""
    if target.exists() and not target.is_dir():
        raise HelixLabError(f"{target}: this is a file; give the name of a folder for the tutorials.")
    kept = []
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if not path.is_file() or any(part.startswith((".", "__")) for part in inside.parts):
            continue
        copy = target / inside
        if copy.exists() and not overwrite:
            if not filecmp.cmp(path, copy, shallow=False):
                kept.append(copy)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        # By way of a temporary name: an interrupted copy must not pass for an edited notebook next time.
        partial = copy.with_name(f".{copy.name}.partial")
        shutil.copyfile(path, partial)
        os.replace(partial, copy)
    return kept
