"""The command ``helixlab``: everything the library does, from a shell.

Rules for every command. Results go to stdout; progress, warnings and errors to stderr. With ``--json`` stdout holds
exactly one JSON object and nothing else. Bad input ends with exit code 2 and a one-line message on stderr, never a
traceback; with ``--json`` stdout then holds ``{"error": message}``. No file is overwritten without ``--overwrite``.

Nothing heavy is imported before a command runs, so that ``helixlab --help`` answers at once.
"""

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from helixlab.cli import _check, _compare, _lab, _maps, _particles, _refine, _search, _simulate, _symmetry

app = typer.Typer(
    name="helixlab",
    help="Interactive helical reconstruction for cryo-EM: find, impose, check and simulate helical symmetry.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: without it the first line would wait for rich's markdown and syntax colours
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"helixlab {version('helixlab')}")
        raise typer.Exit
    return wanted


@app.callback()
def _options_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Interactive helical reconstruction for cryo-EM: find, impose, check and simulate helical symmetry."""


app.command("info")(_maps.info)
app.command("search")(_search.search)
app.command("audit")(_search.audit)
app.command("convert")(_symmetry.convert)
app.command("align")(_maps.align)
app.command("impose")(_maps.impose)
app.command("fsc")(_maps.fsc)
app.command("simulate")(_simulate.simulate)
app.command("simulate-particles")(_particles.simulate_particles)
app.command("check")(_check.check)
app.command("refine")(_refine.refine)
app.command("compare")(_compare.compare)
app.command("lab")(_lab.lab)


def main() -> None:
    """Run the command line; the entry point of the script ``helixlab``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show Å or ° shows a question mark; a finished search is not lost to it.
            stream.reconfigure(errors="replace")
    _keep_compiled_kernels()
    app()


def _keep_compiled_kernels() -> None:
    """Let JAX keep what it compiles in HelixLab's cache: the second search of a box size starts at once.

    Applies to this process and those it starts (JupyterLab's kernels); a user's own settings stand.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "helixlab"
    except RuntimeError:  # an account without a home: nothing is kept
        return
    settings = {
        "JAX_COMPILATION_CACHE_DIR": Path(os.environ.get("HELIXLAB_CACHE") or cache) / "jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0.1,
        "JAX_COMPILATION_CACHE_MAX_SIZE": 512 * 1024**2,
    }
    for name, value in settings.items():
        os.environ.setdefault(name, str(value))
