"""``helixlab refine``: from filament segments to half maps and a symmetry."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helixlab.cli._console import (
    STOPPED,
    names_set_values,
    print_json,
    reports_errors,
    say_aside,
    segments_in_words,
    warn,
)
from helixlab.cli._list_settings import ListRefinementSettings
from helixlab.cli._options import ImagesRoot, JsonOutput, Passthrough, SettingsFile, SetValues

if TYPE_CHECKING:
    from helixlab.reconstruct import Control, Event, IterationEvent, RunEnded, RunStarted

_COLUMNS = ("iter.", "aligned", "GSFSC Å", "twist °", "± °", "rise Å", "± Å", "seconds")
"""Aligned: the resolution to which. With one more, lines of 80 characters would not hold them."""


@reports_errors
def refine(
    particles: Annotated[Path, typer.Argument(metavar="PARTICLES", help="Filament segments (.star or .cs).")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The run's folder: new or empty, or with --resume the run's.")
    ],
    twist_deg: Annotated[
        float | None, typer.Option("--twist", metavar="DEG", help="Estimate; without twist and rise: asymmetric.")
    ] = None,
    rise_A: Annotated[float | None, typer.Option("--rise", metavar="A", help="Estimate in Å, > 0.")] = None,
    point_group: Annotated[
        str | None, typer.Option("--point-group", metavar="Cn|Dn", help="Point group about the axis.")
    ] = None,
    volume: Annotated[Path | None, typer.Option("--volume", metavar="MAP", help="An initial model.")] = None,
    mask: Annotated[Path | None, typer.Option("--mask", metavar="MAP", help="A static mask, kept as it is.")] = None,
    images_root: ImagesRoot = None,
    passthrough: Passthrough = None,
    settings_file: SettingsFile = None,
    values: SetValues = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the last complete iteration, with what is not given now as it was."),
    ] = False,
    list_all: ListRefinementSettings = False,
    json_output: JsonOutput = False,
) -> None:
    """Refine filament segments to two half maps and a symmetry.

    Each iteration is a line on stderr; the folder gets maps, half maps, mask, FSC curves, particles with refined poses
    and all events. Ctrl-C stops the run and keeps what there is; stopped or killed, it goes on with --resume.
    """
    from helixlab.io import read_particles, read_volume
    from helixlab.reconstruct import Control, RefinementSettings, latest_settings
    from helixlab.reconstruct import refine as run
    from helixlab.reconstruct.run_directory import read_as_before

    given = {"twist_deg": twist_deg, "rise_A": rise_A, "point_group": point_group}
    if mask is not None:
        given["mask"] = "static"
    base = latest_settings(out) if resume else None
    with names_set_values(values, given):
        settings = RefinementSettings.from_sources(settings_file, values or [], given, base=base)
    reading = {"images_root": images_root, "passthrough": passthrough or ()}
    start, control = time.perf_counter(), Control(settings)
    events = run(
        read_as_before(particles, out, **reading) if resume else read_particles(particles, **reading),
        settings,
        out,
        control,
        volume=None if volume is None else read_volume(volume),
        mask=None if mask is None else read_volume(mask),
        resume=resume,
    )
    with _stopped_by_interrupt(control, out):
        ended, warnings = _follow(events)
    files = {name: str(out / file) for name, file in ended.files.items()}
    if json_output:
        print_json(_summary(ended, files, time.perf_counter() - start, warnings))
    else:
        typer.echo(_in_words(ended))
        if files:
            typer.echo(f"wrote {', '.join(files.values())}")
    if ended.reason == "stopped":
        raise typer.Exit(STOPPED)


@contextlib.contextmanager
def _stopped_by_interrupt(control: "Control", out: Path) -> Iterator[None]:
    """Ctrl-C stops the run at its next batch; once more ends it between batches, too. One iteration is lost at most."""

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        control.stop()
        warn(["stopping at the next batch of images; Ctrl-C again ends what comes between batches, too."])

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except KeyboardInterrupt:
        warn([f"ended within an iteration; what was complete before it is in {out}, and --resume goes on from there."])
        raise typer.Exit(STOPPED) from None
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(events: "Iterator[Event]") -> "tuple[RunEnded, list[str]]":
    """Say on stderr what the run says while it goes on, each thing once; its end, and the warnings that hold then."""
    from helixlab.reconstruct import IterationEvent, Message, RunEnded, RunStarted

    ended, said = None, set[str]()

    def say(texts: Sequence[str], level: str) -> None:
        warn([text for text in texts if text not in said], level)
        said.update(texts)

    with _growing_table() as add_row:
        for event in events:
            if isinstance(event, RunStarted):
                say_aside(_started_in_words(event))
            elif isinstance(event, IterationEvent):
                add_row(_row(event))
                say(event.warnings, "warning")
            elif isinstance(event, Message):
                say([event.text], event.level)
            elif isinstance(event, RunEnded):
                ended = event
                say(event.warnings, "warning")
                say(_advice(event), "note")
    if ended is None:
        raise RuntimeError("the refinement ended without saying so")
    return ended, [*ended.warnings, *_advice(ended)]


def _advice(ended: "RunEnded") -> list[str]:
    return [ended.advice] if ended.advice else []


@contextlib.contextmanager
def _growing_table() -> Iterator[Callable[[Sequence[str]], None]]:
    """A callable that adds a row: to a table that is drawn anew in a terminal, to a log file as a line."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_writer()
        return
    table = Table(show_edge=False, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    with Live(table, console=console, auto_refresh=False) as live:

        def add_row(cells: Sequence[str]) -> None:
            table.add_row(*cells)
            live.refresh()

        yield add_row


def _line_writer() -> Callable[[Sequence[str]], None]:
    widths = [max(len(name), 8) for name in _COLUMNS]
    waiting = [_COLUMNS]

    def write_line(cells: Sequence[str]) -> None:
        for line in (*waiting, cells):
            typer.echo("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), err=True)
        waiting.clear()

    return write_line


# --- what is said -------------------------------------------------------------------------------


def _summary(ended: "RunEnded", files: dict[str, str], seconds: float, warnings: list[str]) -> dict[str, Any]:
    numbers = {"resolution_A", "twist_deg", "rise_A", "twist_se_deg", "rise_se_A", "iterations"}
    return {
        **ended.model_dump(include=numbers),
        "seconds": seconds,
        "map": files.get("map"),
        "half_maps": [files[name] for name in ("half1", "half2") if name in files],
        "mask": files.get("mask"),
        "particles": files.get("particles"),
        "converged": ended.reason == "converged",
        "warnings": warnings,
    }


def _started_in_words(event: "RunStarted") -> str:
    first = event.first_iteration
    goes_on = f", from iteration {first} on" if first > 1 else "; making the initial model"
    return (
        f"{segments_in_words(event.n_segments, event.n_filaments)}, box {event.box_px} × {event.pixel_size_A:g} Å, "
        f"{event.symmetry_order} asymmetric unit{'' if event.symmetry_order == 1 else 's'} each{goes_on}"
    )


def _row(event: "IterationEvent") -> tuple[str, ...]:
    return (
        str(event.iteration),
        event.stage.removeprefix("aligned to "),
        _number(event.resolution_A, 2),
        _number(event.twist_deg, 3),
        _number(event.twist_se_deg, 3),
        _number(event.rise_A, 4),
        _number(event.rise_se_A, 4),
        _number(sum(event.seconds.values()), 1),
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _in_words(ended: "RunEnded") -> str:
    how = "not converged" if ended.reason == "max_iterations" else ended.reason
    found = f"{how} after {ended.iterations} iteration{'' if ended.iterations == 1 else 's'}"
    if ended.resolution_A is not None:
        found += f": {ended.resolution_A:.2f} Å"
    if ended.iterations == 0 or ended.twist_deg is None or ended.rise_A is None:
        return found
    twist, rise = (
        f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if error is not None else "")
        for value, error, digits in ((ended.twist_deg, ended.twist_se_deg, 3), (ended.rise_A, ended.rise_se_A, 4))
    )
    return f"{found}, twist {twist}°, rise {rise} Å"
