"""The state of a refinement as named arrays and back, bit for bit.

Names are the paths of the fields, "poses.angles_deg", "half_maps.0.data". The classes' own annotations say what each
array becomes again, so that a field that is added to the state is saved with no word said here.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from helixlab.errors import HelixLabError
from helixlab.reconstruct.events import OTHER_VERSION
from helixlab.reconstruct.state import RefinementState


def state_to_arrays(state: RefinementState) -> dict[str, np.ndarray]:
    """All that a state holds, as arrays of numbers and text.

    Parameters
    ----------
    state : RefinementState

    Returns
    -------
    dict of arrays
        Contiguous, by the path of their field; single values have no axes, and what is None is left out.
    """
    return _flattened("", state)


def state_from_arrays(arrays: Mapping[str, np.ndarray]) -> RefinementState:
    """The state of :func:`state_to_arrays`.

    Raises
    ------
    HelixLabError
        If an array is missing: the state was saved by another version.
    """
    return _restored("", RefinementState, arrays)


def _flattened(name: str, value: Any) -> dict[str, np.ndarray]:
    if value is None:
        return {}
    if dataclasses.is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, tuple):
        parts = {str(place): part for place, part in enumerate(value)}
    else:
        return {name: np.asarray(value, order="C")}
    return {key: array for part, item in parts.items() for key, array in _flattened(_below(name, part), item).items()}


def _restored(name: str, kind: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value of a type whose arrays are named after it."""
    if isinstance(kind, types.UnionType) and types.NoneType in kind.__args__:
        if not any(key == name or key.startswith(f"{name}.") for key in arrays):
            return None
        kind = kind.__args__[0]
    if dataclasses.is_dataclass(kind):
        fields = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        return typing.cast(type, kind)(**{part: _restored(_below(name, part), fields[part], arrays) for part in names})
    if typing.get_origin(kind) is tuple:
        parts = enumerate(typing.get_args(kind))
        return tuple(_restored(_below(name, str(place)), part, arrays) for place, part in parts)
    if name not in arrays:
        raise HelixLabError(f"state.npz: {name} is missing; {OTHER_VERSION}")
    return arrays[name].item() if kind in (bool, int, float, str) else arrays[name]


def _below(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part
