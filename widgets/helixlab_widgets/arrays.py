"""Traits for arrays, which reach the browser as bytes, and for values that are compared by identity."""

from typing import Any

import numpy as np
import traitlets

from helixlab.errors import HelixLabError

DTYPES = ("float32", "uint8")
"""What the browser reads: Float32Array and Uint8Array."""


def _to_json(array: np.ndarray | None, _widget: Any) -> dict[str, Any] | None:
    if array is None:
        return None
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": memoryview(array).cast("B")}


def _from_json(value: dict[str, Any] | None, _widget: Any) -> np.ndarray | None:
    if value is None:
        return None
    return np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"])


class Array(traitlets.TraitType):
    """An array of numbers, or None; in the browser ``readArray`` of ``static/core.js`` reads it.

    Parameters
    ----------
    ndim : int
        Number of axes.
    dtype : "float32" or "uint8"

    Notes
    -----
    The value is a read-only contiguous copy or view; a change is a new array. Two arrays are the same value only if
    they are one object: comparing the numbers would cost more than sending them.

    Examples
    --------
    >>> class Holder(traitlets.HasTraits):
    ...     image = Array(ndim=2)
    >>> holder = Holder(image=[[1, 2], [3, 4]])
    >>> holder.image.dtype, holder.image.flags.writeable
    (dtype('float32'), False)
    """

    info_text = "an array"

    def __init__(self, *, ndim: int, dtype: str = "float32", **options: Any) -> None:
        if dtype not in DTYPES:
            raise HelixLabError(f"dtype: found {dtype!r}; the browser reads {' and '.join(DTYPES)}.")
        super().__init__(default_value=None, allow_none=True, **options)
        self.ndim, self.dtype = ndim, dtype
        self.tag(sync=True, to_json=_to_json, from_json=_from_json)

    def validate(self, obj: Any, value: Any) -> np.ndarray | None:
        """The value as a read-only contiguous array."""
        if value is None:
            return None
        array = np.ascontiguousarray(value, self.dtype)
        if array.ndim != self.ndim:
            raise HelixLabError(f"{self.name}: found an array of shape {np.shape(value)}; it needs {self.ndim} axes.")
        array = array.view()
        array.flags.writeable = False
        return array

    def set(self, obj: Any, value: Any) -> None:
        """As traitlets' own, which would ask whether two arrays are equal."""
        set_by_identity(self, obj, value)


class Exact(traitlets.Instance):
    """An instance whose every new object is a change, also one that is called equal to the old.

    Two helical symmetries are equal if they generate the same operators, but 197.7° typed for -162.3° is to stay.
    """

    def set(self, obj: Any, value: Any) -> None:
        """As traitlets' own, but for the comparison."""
        set_by_identity(self, obj, value)


def set_by_identity(trait: traitlets.TraitType, obj: Any, value: Any) -> None:
    """Set a trait's value and notify unless it is the very object that was there."""
    new = trait._validate(obj, value)
    old = obj._trait_values.get(trait.name)
    obj._trait_values[trait.name] = new
    if new is not old:
        obj._notify_trait(trait.name, old, new)
