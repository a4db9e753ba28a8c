"""What an explorer shows, as one value: it serialises to JSON and can be taken back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, field_validator

from helixlab.explore import Hypothesis
from helixlab.geometry import HelicalSymmetry, parse_point_group
from helixlab.settings import Settings

SAME_CHANGE_S = 1.0
"""Changes of the symmetry within this time are one: a slider's drag is taken back in one step."""

_SCREW = frozenset({"twist_deg", "rise_A", "point_group"})


class Display(Settings):
    """How the map is looked at; changes of it are not undone."""

    at_px: tuple[int, int, int] | None = None
    """The voxel (z, y, x) through which the slices go; None for the box's centre."""
    kind: Literal["section", "projection"] = "section"
    radius_A: float | None = None
    """Of the unrolled cylinder; None for the mean over the wall."""
    thickness_A: float = 0.0


class ExplorerState(Settings):
    """The symmetry in hand, the hypotheses kept, and how the map is looked at.

    Examples
    --------
    >>> state = ExplorerState(twist_deg=22.03, rise_A=1.408)
    >>> ExplorerState.model_validate_json(state.model_dump_json()) == state
    True
    """

    twist_deg: Annotated[float, Field(ge=-360, le=360)]
    rise_A: Annotated[float, Field(gt=0)]
    point_group: str = "C1"
    is_flipped: bool = False
    """Whether the map's mirror image is looked at."""
    hypotheses: tuple[Hypothesis, ...] = ()
    display: Display = Display()

    @field_validator("point_group")
    @classmethod
    def _known_point_group(cls, value: str) -> str:
        family, order = parse_point_group(value)
        return f"{family}{order}"

    @property
    def symmetry(self) -> HelicalSymmetry:
        """Twist, rise and point group."""
        return HelicalSymmetry(self.twist_deg, self.rise_A, self.point_group)

    def with_symmetry(self, symmetry: HelicalSymmetry) -> "ExplorerState":
        """The same with another symmetry in hand."""
        return self.model_copy(
            update={
                "twist_deg": symmetry.twist_deg,
                "rise_A": symmetry.rise_A,
                "point_group": symmetry.point_group,
            }
        )

    def with_display(self, **changes: object) -> "ExplorerState":
        """The same, looked at differently."""
        return self.model_copy(update={"display": self.display.model_copy(update=changes)})


@dataclass(frozen=True)
class History:
    """A state with those before and after it.

    Examples
    --------
    >>> clock = iter(range(0, 100, 10))
    >>> first = ExplorerState(twist_deg=20, rise_A=1.5)
    >>> history = History(first).to(first.model_copy(update={"rise_A": 1.6}), clock=lambda: next(clock))
    >>> history.undone().present.rise_A, history.undone().redone().present.rise_A
    (1.5, 1.6)
    """

    present: ExplorerState
    past: tuple[ExplorerState, ...] = ()
    future: tuple[ExplorerState, ...] = ()
    changed_fields: frozenset[str] = frozenset()
    changed_at_s: float = float("-inf")

    def to(self, state: ExplorerState, *, clock: Callable[[], float] = time.monotonic) -> "History":
        """After a change; one of the display alone, or that goes on with the last one, is no step of its own."""
        fields = frozenset(
            name for name in ExplorerState.model_fields if getattr(state, name) != getattr(self.present, name)
        )
        if fields <= {"display"}:
            return replace(self, present=state)
        now_s = clock()
        goes_on = fields <= _SCREW and self.changed_fields <= _SCREW and bool(self.changed_fields)
        if goes_on and now_s - self.changed_at_s < SAME_CHANGE_S:
            return replace(self, present=state, future=(), changed_at_s=now_s)
        return History(state, (*self.past, self.present), (), fields, now_s)

    def undone(self) -> "History":
        """One step back, looked at as now; unchanged if there is none."""
        if not self.past:
            return self
        back = self.past[-1].model_copy(update={"display": self.present.display})
        return History(back, self.past[:-1], (self.present, *self.future))

    def redone(self) -> "History":
        """One step forth; unchanged if there is none."""
        if not self.future:
            return self
        forth = self.future[0].model_copy(update={"display": self.present.display})
        return History(forth, (*self.past, self.present), self.future[1:])
