"""``helixlab compare``: which symmetry explains segments best that its map has not seen?"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helixlab.cli._console import (
    names_set_values,
    print_json,
    print_table,
    progress_bar,
    reports_errors,
    say_aside,
    warn,
)
from helixlab.cli._list_settings import ListRefinementSettings
from helixlab.cli._options import ImagesRoot, JsonOutput, Passthrough, SettingsFile, SetValues
from helixlab.errors import HelixLabError

if TYPE_CHECKING:
    from helixlab.geometry import HelicalSymmetry
    from helixlab.reconstruct import ComparedHypothesis, HypothesisComparison, RefinementSettings

_COLUMNS = ("hypothesis", "log-likelihood", "difference", "verdict", "seconds")

_FORM = "write TWIST/RISE or TWIST/RISE/GROUP, e.g. -101.1/5.13 or 29.4/21.8/C6"


@reports_errors
def compare(
    particles: Annotated[Path, typer.Argument(metavar="PARTICLES", help="Filament segments (.star or .cs).")],
    hypotheses: Annotated[
        str,
        typer.Option(
            "--hypotheses",
            metavar="FILE|T/R[/G],...",
            help="Twist/rise/point group, separated by commas; or a file of such lines, or of the explorer.",
        ),
    ],
    resolution_A: Annotated[
        float, typer.Option("--resolution", metavar="A", help="To which segments are looked at, Å.")
    ] = 12.0,
    images_root: ImagesRoot = None,
    passthrough: Passthrough = None,
    settings_file: SettingsFile = None,
    values: SetValues = None,
    list_all: ListRefinementSettings = False,
    json_output: JsonOutput = False,
) -> None:
    """Rank symmetries by the likelihood of held-out segments.

    Each hypothesis and the control without symmetry is refined at low resolution from random azimuths; each half map is
    then scored on the segments of the other half. Twist and rise are taken as they are given. The best must beat the
    others, and a round filament, by three standard errors over filaments, and not score below the control. Settings are
    those of a refinement; which of them mean nothing here is said. What is done is said on stderr; the ranking comes at
    the end, and Ctrl-C leaves none.
    """
    from helixlab.io import read_particles
    from helixlab.reconstruct import RefinementSettings, check_set_up, compare_hypotheses
    from helixlab.reconstruct.compare import ignored_settings
    from helixlab.reconstruct.verdicts import name_of

    start = time.perf_counter()
    with names_set_values(values, {}):
        settings = RefinementSettings.from_sources(settings_file, values or [])
    ignored = ignored_settings(settings)
    unused, settings = _unused_in_words(ignored), _with_defaults(settings, ignored)
    named = _hypotheses(hypotheses)
    stack = read_particles(particles, images_root=images_root, passthrough=passthrough or ())
    # What a check calls an error is refused below.
    doubts = [str(d) for d in check_set_up(stack, settings, read_images=False) if d.severity == "warning"]
    warn(doubts, "warning")
    for line in unused:  # no option of this command gives what it names
        say_aside(f"note: {line}")
    names = {name_of(symmetry): name for name, symmetry in reversed(named)}
    with progress_bar(keeps_stages=True) as report:
        found = compare_hypotheses(
            stack,
            [symmetry for _, symmetry in named],
            resolution_A=resolution_A,
            settings=settings,
            progress=lambda stage, fraction: report(names.get(stage, stage), fraction),
        )
    if json_output:
        print_json(
            {
                "particles": particles,
                "n_segments": len(stack),
                "n_filaments": stack.n_filaments,
                "resolution_A": resolution_A,
                **_plain(found),
                "hypotheses": [{"name": _name(row, named), **row.to_dict()} for row in found.rows],
                "seconds": time.perf_counter() - start,
                "warnings": [*doubts, *unused],
            }
        )
        return
    print_table(_COLUMNS, [_row(row, named) for row in found.rows])
    for row in found.rows:
        typer.echo(f"{_name(row, named)}: {row.reason}")
    typer.echo(found.conclusion)


# --- what is asked ------------------------------------------------------------------------------


def _hypotheses(text: str) -> list[tuple[str, "HelicalSymmetry"]]:
    """Names and symmetries, as typed or from a file."""
    if not Path(text).is_file():
        return [_typed(word, "--hypotheses") for word in _words(text)]
    try:
        content = Path(text).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise HelixLabError(f"{text}: found no text; needed a hypothesis in each line: {_FORM}.") from None
    if not content.lstrip().startswith("{"):
        return [_typed(word, text) for word in _words(content)]
    from helixlab.explore import parse_hypotheses

    # The asymmetric control is always made.
    return [(h.name, h.symmetry) for h in parse_hypotheses(content, text).hypotheses if h.symmetry is not None]


def _words(text: str) -> list[str]:
    lines = (line.split("#")[0] for line in text.splitlines())
    return [word.strip() for line in lines for word in line.split(",") if word.strip()]


def _typed(word: str, source: str) -> tuple[str, "HelicalSymmetry"]:
    from helixlab.geometry import HelicalSymmetry

    twist, *rest = (part.strip() for part in word.split("/"))
    try:
        if len(rest) not in (1, 2):
            raise ValueError
        numbers = float(twist), float(rest[0])
    except ValueError:
        what = "no symmetry" if Path(source).is_file() else "no such file and no symmetry"
        raise HelixLabError(f"{source}: found {word!r}, which is {what}; {_FORM}.") from None
    try:
        return word, HelicalSymmetry(*numbers, *rest[1:])
    except HelixLabError as error:
        raise HelixLabError(f"{source}: found {word!r}; {error}") from None


# --- what is said -------------------------------------------------------------------------------


def _with_defaults(settings: "RefinementSettings", names: Sequence[str]) -> "RefinementSettings":
    """So that a check does not doubt what makes no difference."""
    return settings.replaced(**{name: type(settings).model_fields[name].default for name in names})


def _unused_in_words(names: Sequence[str]) -> list[str]:
    """A line for settings that make no difference; none where there are no such settings."""
    if not names:
        return []
    return [
        f"{', '.join(names)}: not used here. A comparison takes symmetries as they are given, begins with initial "
        "models of its own, and ends when maps no longer change."
    ]


def _name(row: "ComparedHypothesis", named: Sequence[tuple[str, "HelicalSymmetry"]]) -> str:
    symmetry = row.maps.symmetry
    return row.maps.name if symmetry is None else next(name for name, given in named if given == symmetry)


def _row(row: "ComparedHypothesis", named: Sequence[tuple[str, "HelicalSymmetry"]]) -> tuple[str, ...]:
    difference = "0" if row.difference.se == row.difference.value == 0 else str(row.difference)
    return _name(row, named), str(row.log_likelihood), difference, row.verdict, f"{row.maps.seconds:.1f}"


def _plain(found: "HypothesisComparison") -> dict[str, Any]:
    best = found.best and {
        "twist_deg": found.best.twist_deg,
        "rise_A": found.best.rise_A,
        "point_group": found.best.point_group,
    }
    return {"is_decided": found.is_decided, "best": best, "conclusion": found.conclusion}
