"""Events come back from their line of JSON to the last digit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from helixlab.errors import FileFormatError
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.events import (
    Curve,
    Event,
    Histogram,
    IterationEvent,
    Mask,
    Message,
    Polarity,
    RunEnded,
    RunStarted,
    SettingsEdited,
    event_from_line,
    event_to_line,
)

finite = st.floats(allow_nan=False, allow_infinity=False)


def iteration_event(number: int = 1, seed: int = 0) -> IterationEvent:
    """With something in every field."""
    rng = np.random.default_rng(seed)
    curve = Curve(label="tight", freq_per_A=np.linspace(0, 0.3, 5), values=rng.normal(size=5).astype(np.float32))
    edges = np.linspace(-180, 180, 4)
    plane = Histogram(
        x_label="rot_deg", x_edges=edges, y_label="tilt_deg", y_edges=(80, 90, 100), counts=rng.integers(0, 9, (2, 3))
    )
    line = Histogram(x_label="psi_deg", x_edges=edges, counts=rng.random((1, 3)))
    return IterationEvent(
        iteration=number, stage="local symmetry search", resolution_A=np.float32(6.1), twist_deg=-101.1, rise_A=5.13,
        twist_se_deg=0.01, rise_se_A=0.002, symmetry_order=4, is_symmetry_searched=True, is_realspace_symmetrized=True,
        is_nonuniform=True, is_shift_limited=True, low_resolution_join_A=12.0, angular_step_deg=1.8,
        log_posterior=-1e5 / 3, held_out_log_likelihood=-3.3,
        held_out_se=0.1, max_probability=0.9, fsc=(curve,), noise=(curve,), orientations=plane, shifts=plane,
        psi_offsets=line, files={"map": "iterations/001/map.mrc"}, seconds={"expectation": 1 / 3}, warnings=("Å",),
        polarity=Polarity(flipped_fraction=0.5, agreeing_fraction=1, uncertain_fraction=rng.random()),
        mask=Mask(threshold=None, volume_fraction=0.2, inner_radius_A=0, outer_radius_A=60, height_A=100),
    )  # fmt: skip


ALL = [
    iteration_event(),
    RunStarted(
        time="2025-01-01T00:00:00Z", settings=RefinementSettings(twist_deg=1, rise_A=4.75).model_dump(mode="json"),
        n_segments=6, n_filaments=2, half_set_sizes=(3, 3), n_optics_groups=1, box_px=64, pixel_size_A=1.3,
        symmetry_order=3, device="cpu", versions={"jax": "0.6"},
    ),
    SettingsEdited(iteration=3, changes={"mask": "static", "twist_search_range_deg": [1.0, 2.0]}),
    Message(level="warning", text="line\nbreak \u2028 and \"quotes\""),
    RunEnded(reason="converged", iterations=9, resolution_A=3.3, seconds=12.5, files={"map": "map.mrc"}),
]  # fmt: skip


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.kind)
def test_an_event_is_one_line(event: Event) -> None:
    line = event_to_line(event)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert event_from_line(line) == event
    assert event_to_line(event_from_line(line)) == line


@given(finite, st.lists(finite, min_size=1))
def test_every_float_comes_back_exactly(resolution_A: float, values: list[float]) -> None:
    curve = Curve(label="", freq_per_A=values, values=np.array(values))
    event = IterationEvent(iteration=1, resolution_A=resolution_A, fsc=(curve,))
    assert event_from_line(event_to_line(event)) == event


def test_what_is_no_number_or_no_event_is_refused() -> None:
    with pytest.raises(ValidationError, match="finite"):
        IterationEvent(iteration=1, resolution_A=float("nan"))
    for line in ("", "{", "{}", '{"kind": "iteration"}', event_to_line(ALL[0])[:-20]):
        with pytest.raises(FileFormatError, match="found no event"):
            event_from_line(line)
