"""Symmetries kept side by side under names, and the file that holds them."""

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, JsonValue, field_validator, model_validator

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.geometry import HelicalSymmetry, parse_point_group
from helixlab.io._files import check_readable, translated, written_whole
from helixlab.record import json_text
from helixlab.settings import Settings

if TYPE_CHECKING:
    from helixlab.explore.filament_map import FilamentMap

SCHEMA_VERSION = 1

_ADVICE = "Give a file that the explorer or write_hypotheses saved."


class Hypothesis(Settings):
    """A symmetry under a name, with what was found for it; or the control without any.

    Raises
    ------
    HelixLabError
        If a value is out of range; it names the field.

    Examples
    --------
    >>> Hypothesis(name="one-start", twist_deg=22.03, rise_A=1.408).symmetry
    HelicalSymmetry(twist_deg=22.03, rise_A=1.408, point_group='C1')
    >>> Hypothesis(name="control", kind="asymmetric").symmetry is None
    True
    """

    name: Annotated[str, Field(min_length=1)]
    kind: Literal["helical", "asymmetric"] = "helical"
    """asymmetric: the map as it is, the control that no symmetry was imposed on."""
    twist_deg: float | None = None
    rise_A: Annotated[float, Field(gt=0)] | None = None
    point_group: str = "C1"
    is_flipped: bool = False
    """Whether it holds for the map's mirror image; twist_deg is that of the mirror image then."""
    note: str = ""
    score: float | None = None
    score_se: float | None = None
    resolution_A: float | None = None
    """FSC 0.143 of the half maps under it."""

    @field_validator("point_group")
    @classmethod
    def _known_point_group(cls, value: str) -> str:
        family, order = parse_point_group(value)
        return f"{family}{order}"

    @model_validator(mode="after")
    def _screw_or_none(self) -> "Hypothesis":
        has_screw = self.twist_deg is not None and self.rise_A is not None
        has_part = self.twist_deg is not None or self.rise_A is not None
        if self.kind == "helical" and not has_screw:
            raise ValueError("twist_deg, rise_A: found none; a helical hypothesis has both.")
        if self.kind == "asymmetric" and (has_part or self.point_group != "C1"):
            raise ValueError("kind: found asymmetric with a twist, rise or point group; the control has no symmetry.")
        return self

    @property
    def symmetry(self) -> HelicalSymmetry | None:
        """The symmetry; None for the control."""
        if self.twist_deg is None or self.rise_A is None:
            return None
        return HelicalSymmetry(self.twist_deg, self.rise_A, self.point_group)


def check_names(hypotheses: Sequence[Hypothesis]) -> None:
    """Raise an error if two hypotheses share a name."""
    names = [h.name for h in hypotheses]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HelixLabError(f"hypotheses: found the name {twice[0]!r} twice; each needs a name of its own.")


class MapIdentity(Settings):
    """Which map hypotheses are about.

    Two are the same map if the densities are, whatever the file is called.
    """

    name: str
    box: tuple[int, int, int]
    """(nz, ny, nx)."""
    pixel_size_A: float
    sha256: str
    """Of the densities as float32, little endian; of half maps, of both, one after the other."""

    @classmethod
    def of(cls, filament_map: "FilamentMap") -> "MapIdentity":
        """Of a map."""
        digest = hashlib.sha256()
        for volume in filament_map.maps:
            digest.update(np.ascontiguousarray(volume.data, "<f4").data)
        volume = filament_map.volume
        return cls(
            name=filament_map.name,
            box=volume.shape,
            pixel_size_A=volume.pixel_size_A,
            sha256=digest.hexdigest(),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MapIdentity) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


class HypothesisFile(Settings):
    """Hypotheses about one map, as they are saved.

    Raises
    ------
    HelixLabError
        If a value is out of range, two have one name, or the current one is not among them.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    created_with: str = Field(default_factory=lambda: version("helixlab"))
    """Version of HelixLab."""
    map: MapIdentity
    current: str | None = None
    """Name of the hypothesis in hand."""
    hypotheses: tuple[Hypothesis, ...] = ()
    view: dict[str, JsonValue] = Field(default_factory=dict)
    """What the explorer showed; it means nothing to the science."""

    @model_validator(mode="after")
    def _names_are_names(self) -> "HypothesisFile":
        check_names(self.hypotheses)
        if self.current is not None and self.current not in [h.name for h in self.hypotheses]:
            raise ValueError(f"current: found {self.current!r}; it is the name of one of the hypotheses, or null.")
        return self

    @classmethod
    def of(
        cls,
        filament_map: "FilamentMap",
        hypotheses: tuple[Hypothesis, ...],
        *,
        current: str | None = None,
        view: dict[str, Any] | None = None,
    ) -> "HypothesisFile":
        """For a map."""
        return cls(map=MapIdentity.of(filament_map), current=current, hypotheses=hypotheses, view=view or {})

    def to_json(self) -> str:
        """The file's text."""
        return json_text(self.model_dump(mode="json"))


def write_hypotheses(path: str | os.PathLike[str], file: HypothesisFile, overwrite: bool = False) -> None:
    """Save hypotheses as JSON.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false, or its folder is missing.
    """
    with written_whole(path, overwrite=overwrite) as temporary:
        temporary.write_text(file.to_json(), encoding="utf-8")


def read_hypotheses(path: str | os.PathLike[str]) -> HypothesisFile:
    """Load what :func:`write_hypotheses` saved.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is no file of hypotheses; the message names the field.
    """
    found = check_readable(path, "a file of hypotheses (JSON)")
    with translated(path, _ADVICE):
        text = found.read_text(encoding="utf-8")
    return parse_hypotheses(text, os.fspath(path))


def parse_hypotheses(text: str, name: str) -> HypothesisFile:
    """As :func:`read_hypotheses`, of a file's text; ``name`` is what messages call it.

    Raises
    ------
    FileFormatError
        If it is no file of hypotheses.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise FileFormatError(f"{name}: found no JSON ({error}). {_ADVICE}") from None
    if not isinstance(values, dict) or "schema_version" not in values:
        raise FileFormatError(f"{name}: found JSON without a schema_version. {_ADVICE}")
    found = values["schema_version"]
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise FileFormatError(
            f"{name}: schema_version: found {found}, made by HelixLab {values.get('created_with', '(unknown)')}; this "
            f"version reads up to {SCHEMA_VERSION}. Install a newer HelixLab."
        )
    try:
        return HypothesisFile.model_validate(values)
    except HelixLabError as error:
        raise FileFormatError(f"{name}: {error} {_ADVICE}") from None
