"""What a command says and where: results on stdout, all else on stderr, errors in one line."""

import contextlib
import functools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, get_type_hints

import typer
from typer.models import OptionInfo

from helixlab.cli._options import in_option_words
from helixlab.errors import HelixLabError

P = ParamSpec("P")
Progress = Callable[[str, float], None]

BAD_INPUT = 2
"""Exit code for input that cannot be used, the one that typer gives to a wrong option too."""

STOPPED = 130
"""Exit code of what the user stopped: a shell's for what Ctrl-C ended, so that no script goes on from it."""


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a command's HelixLabError, file-system or memory error into a message and exit code 2, Ctrl-C into 130.

    Warnings raised while it runs become lines on stderr. With the command's ``json_output`` an error is also the one
    JSON object on stdout.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with _warnings_on_stderr():
                command(*args, **kwargs)
            return
        except BrokenPipeError:
            # The reader of stdout has gone (``helixlab ... | head``): there is nobody left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        except KeyboardInterrupt:
            message, code = "stopped by Ctrl-C before the end; there is no result.", STOPPED
        except (HelixLabError, OSError, MemoryError) as error:
            message, code = in_option_words(_message_of(error), _options_of(command)), BAD_INPUT
        if kwargs.get("json_output"):
            print_json({"error": message})
        typer.echo(f"helixlab: {message}", err=True)
        raise typer.Exit(code)

    return wrapped


def print_json(value: dict[str, Any]) -> None:
    """The command's one JSON object."""
    from helixlab.record import json_text

    # A pipe that cannot carry Å or ° gets them escaped, which is the same JSON.
    is_unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf")
    typer.echo(json_text(value, ascii_only=not is_unicode), nl=False)


def warn(messages: Sequence[str], level: str = "note") -> None:
    """Notes, warnings and errors that end nothing, a line each, on stderr."""
    for message in messages:
        say_aside(f"{level}: {in_option_words(message)}")


def say_aside(line: str) -> None:
    """A line on stderr; above the table or bar that is drawn there, which typer.echo would write across."""
    sys.stderr.write(f"{line}\n")


@contextlib.contextmanager
def names_set_values(values: Sequence[str] | None, given: Mapping[str, Any]) -> Iterator[None]:
    """Let an error of settings say that it is of a value after --set, not of an option that is ``given`` by name.

    The two may bear one name and be different things: ``mask`` is a word, ``--mask`` a file.
    """
    try:
        yield
    except HelixLabError as error:
        name = str(error).partition(":")[0]
        if given.get(name) is None and any(value.partition("=")[0].strip() == name for value in values or []):
            where = " --list-settings shows all." if str(error).endswith("there is no such setting.") else ""
            raise HelixLabError(f"--set {error}{where}") from None
        raise


def segments_in_words(n_segments: int, n_filaments: int) -> str:
    """How many there are; filaments are 0 where they are not known."""
    return f"{n_segments} segments of {n_filaments or 'unknown'} filament{'' if n_filaments == 1 else 's'}"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; outside a terminal it is never folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(table)


@contextlib.contextmanager
def progress_bar(*, keeps_stages: bool = False) -> Iterator[Progress]:
    """A callable (stage, fraction) that draws a bar on stderr; silent where stderr is no terminal.

    With ``keeps_stages`` each stage that is done stays as a line with its seconds, in a terminal and in a log.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)
        now, since = "", time.perf_counter()

        def begin(stage: str) -> None:
            nonlocal now, since
            if keeps_stages and now:
                line = f"{now}: {time.perf_counter() - since:.1f} s"
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            now, since = stage, time.perf_counter()

        def report(stage: str, fraction: float) -> None:
            if stage != now:
                begin(stage)
            bar.update(task, description=stage, completed=fraction)

        yield report
        begin("")


def check_free(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse before any work what could not be written after it."""
    for path in paths:
        if path.is_dir():
            raise HelixLabError(f"{path}: this is a folder; give the name of the file to write.")
        if path.exists() and not overwrite:
            raise HelixLabError(f"{path}: the file exists already; choose another name or add --overwrite.")


def check_free_file(path: Path, overwrite: bool) -> None:
    """The same for one file, whose folder must exist."""
    check_free([path], overwrite)
    if not path.absolute().parent.is_dir():
        raise HelixLabError(f"{path}: the folder {path.parent} does not exist; create it first.")


def make_folder(folder: Path) -> Path:
    """The folder, created with its parents if need be."""
    if folder.exists() and not folder.is_dir():
        raise HelixLabError(f"{folder}: this is a file; --out takes the name of a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _options_of(command: Callable[..., None]) -> set[str]:
    """The options of a command, by its annotations; typer keeps the first word of one as its default."""
    hints = get_type_hints(command, include_extras=True).values()
    infos = (info for hint in hints for info in getattr(hint, "__metadata__", ()) if isinstance(info, OptionInfo))
    return {str(word) for info in infos for word in (info.default, *(info.param_decls or ()))}


def _message_of(error: HelixLabError | OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        wanted = f" ({error})" if str(error) else ""
        return f"the computer has not enough memory for this{wanted}; use a smaller box or a coarser pixel size."
    if isinstance(error, OSError):
        place = error.filename if error.filename is not None else "file system"
        return f"{place}: {error.strerror or error}. Check the disk and permissions."
    return str(error)


@contextlib.contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        warn([str(message)])

    with warnings.catch_warnings():
        # A cache of kernels that cannot be used costs time and no result; JAX would say so for every kernel.
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
        warnings.showwarning = show
        yield
