"""What a user may set, said once: a class of settings is the command line, the JSON file and the form.

A setting has a name with its unit, a label, a help text, limits and, where RELION has it, RELION's option. Values that
do not fit are refused by a :class:`HelixLabError` that names the setting, however they came: constructed, read from a
file or typed after ``--set``.
"""

import contextlib
import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from helixlab.errors import HelixLabError

S = TypeVar("S", bound="Settings")

_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
"""Of JSON schema, which is what a form understands."""


def setting(
    default: Any,
    label: str,
    help: str,
    unit: str | None = None,
    *,
    relion: str | None = None,
    group: str | None = None,
    editable: bool = True,
    **limits: Any,
) -> Any:
    """A field of a :class:`Settings` class.

    Parameters
    ----------
    default : Any
    label : str
        Short, as a form shows it; CryoSPARC's where it has one.
    help : str
        A sentence or two.
    unit : str, optional
        As its name says, e.g. "Å".
    relion : str, optional
        RELION's option or column of the same meaning.
    group : str, optional
        Heading under which a form shows it.
    editable : bool
        Whether it may change in the middle of a run.
    **limits
        pydantic's: gt, ge, lt, le, min_length, ...
    """
    extra = {"unit": unit, "relion": relion, "group": group, "editable": editable}
    return Field(default, title=label, description=help, json_schema_extra=extra, **limits)


class Settings(BaseModel):
    """Values that a user may set; they never change, :meth:`replaced` makes others.

    Raises
    ------
    HelixLabError
        If a value is out of range or a name is unknown.

    Examples
    --------
    >>> class Tilt(Settings):
    ...     tilt_sd_deg: float = setting(2.0, "Spread of tilt", "Standard deviation about 90°.", "deg", ge=0, le=15)
    >>> Tilt().with_values(["tilt_sd_deg=3"]).tilt_sd_deg
    3.0
    >>> Tilt(tilt_sd_deg=99)
    Traceback (most recent call last):
        ...
    helixlab.errors.HelixLabError: tilt_sd_deg: found 99; it must be less than or equal to 15.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        with _refused_in_words(type(self)):
            super().__init__(**values)

    # pydantic validates past an __init__ of one's own only if told that it adds nothing to the validation: an error in
    # settings within settings then names its whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def model_validate(cls: type[S], obj: Any, **options: Any) -> S:
        """As pydantic's, with a HelixLabError for bad values."""
        with _refused_in_words(cls):
            return super().model_validate(obj, **options)

    @classmethod
    def model_validate_json(cls: type[S], json_data: str | bytes | bytearray, **options: Any) -> S:
        """As pydantic's, with a HelixLabError for bad values."""
        with _refused_in_words(cls):
            return super().model_validate_json(json_data, **options)

    @classmethod
    def from_sources(
        cls: type[S],
        file: str | os.PathLike[str] | None = None,
        values: Sequence[str] = (),
        given: Mapping[str, Any] | None = None,
        *,
        base: S | None = None,
    ) -> S:
        """A file's settings, replaced by those of ``values``, and these by what is ``given``; checked once, together.

        Parameters
        ----------
        file : path, optional
            JSON object of settings by name.
        values : sequence of str
            "name=value", the value as JSON; what is no JSON is text.
        given : mapping, optional
            By name; None stands for what was not given.
        base : Settings, optional
            What is named nowhere is as in these; default: the defaults.
        """
        named = _read_object(Path(file)) if file is not None else {}
        named |= _parse_values(values)
        named |= {name: value for name, value in (given or {}).items() if value is not None}
        return cls(**named) if base is None else base.replaced(**named)

    @classmethod
    def from_json_file(cls: type[S], path: str | os.PathLike[str]) -> S:
        """The settings of a JSON file; those it does not name have their defaults."""
        named = _read_object(Path(path))
        try:
            return cls(**named)
        except HelixLabError as error:
            raise HelixLabError(f"{path}: {error}") from None

    def replaced(self: S, **values: Any) -> S:
        """The settings with some values changed, checked again as a whole."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | values)

    def with_values(self: S, values: Sequence[str]) -> S:
        """The settings with values as typed on a command line, "name=value"."""
        return self.replaced(**_parse_values(values))

    def changes_from(self: S, other: S) -> dict[str, Any]:
        """The values that differ from another's, as JSON holds them."""
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        return {name: value for name, value in mine.items() if value != theirs[name]}

    def described(self) -> list[dict[str, Any]]:
        """Each setting as plain values, in order: what a form or a listing needs.

        Returns
        -------
        list of dict
            "name", "label", "help", "unit", "relion", "group", "editable", "value", "default", "type" (of JSON schema),
            "is_optional" (None is allowed), "choices" (of an enumeration, else empty) and "limits".
        """
        schema = type(self).model_json_schema()["properties"]
        values = self.model_dump(mode="json")
        extras = ("unit", "relion", "group", "editable")
        return [
            {"name": name, "label": about["title"], "help": about["description"]}
            | {key: about[key] for key in extras}
            | {"value": values[name], "default": about["default"]}
            | _form(about)
            for name, about in schema.items()
        ]


@contextlib.contextmanager
def _refused_in_words(kind: type[BaseModel]) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        told = [one for one in error.errors() if not _has_inner(one["loc"], error)]
        raise HelixLabError(" ".join(_complaint(one, list(kind.model_fields)) for one in told)) from None


def _has_inner(place: tuple[int | str, ...], error: ValidationError) -> bool:
    """Whether the error is of something inside: a list with a bad item is called too short as well."""
    return any(len(p) > len(place) and p[: len(place)] == place for p in (one["loc"] for one in error.errors()))


def _complaint(error: ErrorDetails, names: list[str]) -> str:
    """One of pydantic's errors as "setting: found ...; it must be ..."."""
    path, message = error["loc"], error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        # A check of ours names its setting itself; what is missing is the list that its settings are part of.
        last_number = max((i for i, part in enumerate(path) if isinstance(part, int)), default=-1)
        return "".join(f"{part}." for part in path[: last_number + 1]) + message
    field = ".".join(map(str, path)) or "settings"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), names, n=1) if len(path) == 1 else []
        return f"{field}: there is no such setting" + (f"; did you mean {near[0]}?" if near else ".")
    message = message.replace("Input should be", "it must be")
    return f"{field}: found {error['input']!r}; {message[:1].lower()}{message[1:]}."


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise HelixLabError(f"{path}: cannot be read ({error.strerror}); give a JSON file of settings.") from error
    except ValueError as error:
        raise HelixLabError(f"{path}: cannot be read as JSON ({error}); write settings by name.") from error
    if not isinstance(content, dict):
        raise HelixLabError(f'{path}: found no JSON object; write settings by name, e.g. {{"seed": 3}}.')
    return content


def _parse_values(values: Sequence[str]) -> dict[str, Any]:
    named = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise HelixLabError(f"--set: found {text!r}; write NAME=VALUE, e.g. --set seed=3.")
        try:
            named[name.strip()] = json.loads(value)
        except ValueError:
            named[name.strip()] = value.strip()
    return named


def _form(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a form needs to know of a setting's values, from its JSON schema."""
    kinds = about.get("anyOf", [about])
    kind = next(k for k in kinds if k.get("type") != "null")
    return {
        "type": kind.get("type", "object"),
        "is_optional": len(kinds) > 1,
        "choices": kind.get("enum", []),
        "limits": {name: kind[name] for name in _LIMITS if name in kind},
    }
