"""What a running refinement tells: one event per iteration with all that its plots need, as lines of JSON.

The command line's table, a notebook's plots, the log file and the tests read the same events. Arrays become tuples of
numbers: an event is a value, and its line of JSON gives back the same value, to the last digit.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from helixlab.errors import FileFormatError


def _as_list(values: Any) -> Any:
    return values.tolist() if isinstance(values, np.ndarray | np.generic) else values


Number = Annotated[float, BeforeValidator(_as_list)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_list)]
Table = Annotated[tuple[tuple[float, ...], ...], BeforeValidator(_as_list)]


class _Value(BaseModel):
    """Immutable, with the fields it has and no others; NaN and infinity are refused: what is unknown is None."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Curve(_Value):
    """A curve over spatial frequency: an FSC ("unmasked", "spherical", "loose", "tight", "corrected"), a spectrum.

    Parameters
    ----------
    label : str
        Which one; of a noise spectrum, the optics group's name.
    freq_per_A, values : sequences of float
        Of one length.
    """

    label: str
    freq_per_A: Numbers
    values: Numbers


class Histogram(_Value):
    """Counts over one or two quantities.

    Parameters
    ----------
    x_label, y_label : str
        The quantities with their units, e.g. "rot_deg"; ``y_label`` is empty for one quantity.
    x_edges, y_edges : sequences of float
        Edges of the bins; ``y_edges`` is empty for one quantity.
    counts : table of float
        Row by bin of y (one row for one quantity), column by bin of x; fractions where poses are weighted.
    """

    x_label: str
    x_edges: Numbers
    counts: Table
    y_label: str = ""
    y_edges: Numbers = ()


class Polarity(_Value):
    """How sure the filaments' directions are.

    Parameters
    ----------
    flipped_fraction : float
        Segments opposite to their psi prior.
    agreeing_fraction : float
        Segments that point as most of their filament does, before filaments are made coherent.
    uncertain_fraction : float
        Segments whose two directions are told apart with less than 95% probability.
    """

    flipped_fraction: Number
    agreeing_fraction: Number
    uncertain_fraction: Number


class Mask(_Value):
    """The mask of an iteration.

    Parameters
    ----------
    threshold : float or None
        Density at which a dynamic mask was cut; None for a static one.
    volume_fraction : float
        Mean of the mask.
    inner_radius_A, outer_radius_A, height_A : float
        Its extent.
    """

    threshold: Number | None
    volume_fraction: Number
    inner_radius_A: Number
    outer_radius_A: Number
    height_A: Number


class RunStarted(_Value):
    """The run begins, or goes on after an interruption.

    Parameters
    ----------
    time : str
        ISO 8601, UTC.
    settings : dict
        Of the class RefinementSettings, as JSON.
    n_segments, n_filaments, half_set_sizes, n_optics_groups : int
        Filaments are 0 where they are not known.
    box_px, pixel_size_A
        Of the images.
    symmetry_order : int
        Asymmetric units that each segment contributes; 1 where no symmetry is imposed.
    device : str
    versions : dict of str
    first_iteration : int
        1, or the iteration at which an interrupted run goes on.
    """

    kind: Literal["run_started"] = "run_started"
    time: str
    settings: dict[str, JsonValue]
    n_segments: int
    n_filaments: int
    half_set_sizes: tuple[int, int]
    n_optics_groups: int
    box_px: int
    pixel_size_A: Number
    symmetry_order: int
    device: str
    versions: dict[str, str]
    first_iteration: int = 1


class IterationEvent(_Value):
    """One iteration has ended.

    Parameters
    ----------
    iteration : int
        From 1.
    stage : str
        What is new in it, in words: "join to 12 Å", "local symmetry search", "final pass 1 of 2".
    resolution_A : float
        GSFSC at 0.143, of the curve that the run goes by.
    twist_deg, rise_A, twist_se_deg, rise_se_A : float or None
        After this iteration's search; None where no symmetry is imposed, and standard errors before the first search.
    symmetry_order : int
        Asymmetric units that each segment contributed.
    is_symmetry_searched, is_realspace_symmetrized, is_nonuniform, is_shift_limited : bool
        Which of these were at work.
    low_resolution_join_A : float
        The halves shared their reference up to this resolution.
    angular_step_deg : float
        Of the grid of orientations, from whose peaks poses climb.
    log_posterior : float
        Mean per segment of its best pose's, without the term Σ|X|². It grows with the shells that are aligned, and
        tells nothing of one iteration against another.
    held_out_log_likelihood, held_out_se : float or None
        Mean per segment on the other half's map, and its standard error over filaments; of the last iteration. Not to
        be compared between runs, whose halves share what each came to at low resolution, and whose masks and ranges of
        poses differ: :func:`helixlab.reconstruct.compare.compare_hypotheses` compares symmetries.
    max_probability : float
        Mean over segments of the best pose's probability.
    polarity : Polarity or None
    fsc : sequence of Curve
    noise : sequence of Curve
        Power of the noise by optics group.
    orientations : Histogram or None
        Over rot and tilt.
    shifts : Histogram or None
        Along and across the axis.
    psi_offsets : Histogram or None
        Of psi from its prior.
    mask : Mask or None
    files : dict
        "map", "half1", "half2", "mask" and what else was saved, relative to the run's folder.
    seconds : dict
        By phase: "start" (the initial model), "expectation", "noise", "maximisation", "symmetry", "maps", and at the
        end "validation".
    warnings : sequence of str
    """

    kind: Literal["iteration"] = "iteration"
    iteration: int
    stage: str = ""
    resolution_A: Number
    twist_deg: Number | None = None
    rise_A: Number | None = None
    twist_se_deg: Number | None = None
    rise_se_A: Number | None = None
    symmetry_order: int = 1
    is_symmetry_searched: bool = False
    is_realspace_symmetrized: bool = False
    is_nonuniform: bool = False
    is_shift_limited: bool = False
    low_resolution_join_A: Number | None = None
    angular_step_deg: Number | None = None
    log_posterior: Number | None = None
    held_out_log_likelihood: Number | None = None
    held_out_se: Number | None = None
    max_probability: Number | None = None
    polarity: Polarity | None = None
    fsc: tuple[Curve, ...] = ()
    noise: tuple[Curve, ...] = ()
    orientations: Histogram | None = None
    shifts: Histogram | None = None
    psi_offsets: Histogram | None = None
    mask: Mask | None = None
    files: dict[str, str] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class SettingsEdited(_Value):
    """Settings were changed between two iterations; they hold from this one on."""

    kind: Literal["settings_edited"] = "settings_edited"
    iteration: int
    changes: dict[str, JsonValue]


class Message(_Value):
    """Something to be read, at any time of the run."""

    kind: Literal["message"] = "message"
    level: Literal["note", "warning", "error"]
    text: str


class RunEnded(_Value):
    """The run has ended.

    Parameters
    ----------
    reason : str
        "converged", "stopped" (by the user), "max_iterations" (not converged) or "failed".
    advice : str
        What the user should know or do; empty when all is well.
    iterations : int
    resolution_A, twist_deg, rise_A, twist_se_deg, rise_se_A : float or None
    seconds : float
    files : dict
        Results by name, relative to the run's folder.
    warnings : sequence of str
        What still holds: particles left out, doubts of the set-up with the last settings, and the last iteration's.
    """

    kind: Literal["run_ended"] = "run_ended"
    reason: Literal["converged", "stopped", "max_iterations", "failed"]
    advice: str = ""
    iterations: int
    resolution_A: Number | None = None
    twist_deg: Number | None = None
    rise_A: Number | None = None
    twist_se_deg: Number | None = None
    rise_se_A: Number | None = None
    seconds: Number
    files: dict[str, str] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()


Event = RunStarted | IterationEvent | SettingsEdited | Message | RunEnded

OTHER_VERSION = "the run was saved by another version of HelixLab. Let that one go on with it, or begin a new run."
"""What it means that a run's file is whole, and cannot be understood."""

_LINE: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def event_to_line(event: Event) -> str:
    r"""One line of JSON, ending in a newline.

    Examples
    --------
    >>> event_to_line(Message(level="note", text="halves agree"))
    '{"kind":"message","level":"note","text":"halves agree"}\n'
    """
    return event.model_dump_json() + "\n"


def event_from_line(line: str | bytes, source: str = "event") -> Event:
    """The event of a line; the inverse of :func:`event_to_line`.

    Parameters
    ----------
    line : str or bytes
    source : str
        Where it comes from, for the error.

    Raises
    ------
    FileFormatError
        If the line is no event: damaged, or of another version of HelixLab, whose events say other things.

    Examples
    --------
    >>> event_from_line('{"kind":"message","level":"note","text":"halves agree"}').text
    'halves agree'
    """
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        found = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        # A line that is cut short or overwritten is no JSON any more.
        why = "the line is damaged." if first["type"] == "json_invalid" else OTHER_VERSION
        raise FileFormatError(f"{source}: found no event ({found}); {why}") from None
