"""What a user may set in a symmetry search: one class for CLI, JSON and forms."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from helixlab.geometry import parse_point_group
from helixlab.settings import Settings, setting

MIN_RISE_A = 0.3
"""Smallest rise that is searched."""


class SearchSettings(Settings):
    """Settings of the symmetry search; the defaults search everything.

    Raises
    ------
    HelixLabError
        If a value is out of range; it names the setting.

    Examples
    --------
    >>> SearchSettings(rise_range_A=(1, 10)).rise_range_A
    (1.0, 10.0)
    """

    twist_range_deg: tuple[float, float] = setting(
        (-180.0, 180.0), "Helical twist range", "Smallest and largest twist searched, right-handed positive.", "deg"
    )
    rise_range_A: tuple[float, float] = setting(
        (1.0, 60.0), "Helical rise range", "Smallest and largest rise searched; both above 0.", "Å"
    )
    point_group: str = setting(
        "auto", "Point group symmetry", "auto finds it; Cn or Dn is taken as given and the screw searched under it."
    )
    inner_radius_A: Annotated[float, Field(ge=0)] | None = setting(
        None, "Inner filament radius", "Density nearer to the axis is left out; empty: none is.", "Å"
    )
    outer_radius_A: Annotated[float, Field(gt=0)] | None = setting(
        None, "Outer filament radius", "Density farther from the axis is left out; empty: found from the map.", "Å"
    )
    align_axis: bool = setting(
        True, "Align the helical axis", "Find an axis that is off-centre or tilted and straighten the map first."
    )
    max_candidates: int = setting(10, "Candidates listed", "How many candidates are reported.", ge=1, le=100)

    @field_validator("point_group")
    @classmethod
    def _known_point_group(cls, value: str) -> str:
        if value.strip().lower() == "auto":
            return "auto"
        family, order = parse_point_group(value)
        return f"{family}{order}"

    @model_validator(mode="after")
    def _ordered_ranges(self) -> "SearchSettings":
        low, high = self.twist_range_deg
        if not -360.0 <= low < high <= 360.0 or high - low > 360.0:
            raise ValueError(
                f"twist_range_deg: found {low} to {high}; give the smaller value first, "
                "within -360 to 360 and at most one turn apart."
            )
        low, high = self.rise_range_A
        if not 0.0 < low < high:
            raise ValueError(f"rise_range_A: found {low} to {high}; give the smaller value first, both above 0 Å.")
        if low < MIN_RISE_A:
            raise ValueError(f"rise_range_A: found a lower end of {low} Å; no protein repeats below {MIN_RISE_A} Å.")
        if self.inner_radius_A and self.outer_radius_A and self.inner_radius_A >= self.outer_radius_A:
            raise ValueError(
                f"inner_radius_A: found {self.inner_radius_A}; it must be below outer_radius_A {self.outer_radius_A}."
            )
        return self
