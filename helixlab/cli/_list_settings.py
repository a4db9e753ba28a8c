"""The option ``--list-settings``: all that a command may be told after ``--set``, with defaults and meanings."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from helixlab.cli._console import names_set_values, print_json, reports_errors
from helixlab.cli._options import JsonOutput, SettingsFile, SetValues


def _list_settings(module: str, kind: str) -> Any:
    """The option for the settings of a class."""

    def show(context: Any, wanted: bool) -> bool:
        if wanted:
            # Eager options come first, and arguments last: nothing has been missed yet that the command requires.
            given = context.params
            file, values = given["settings_file"] and Path(given["settings_file"]), list[str](given["values"] or ())
            _print_settings(module, kind, file, values, json_output=given["json_output"])
            raise typer.Exit
        return wanted

    about = "Print all settings, as --settings and --set make them, with defaults and meanings, and end."
    return typer.Option("--list-settings", callback=show, help=about)


@reports_errors
def _print_settings(
    module: str, kind: str, settings_file: SettingsFile, values: SetValues, *, json_output: JsonOutput
) -> None:
    with names_set_values(values, {}):
        settings = getattr(import_module(module), kind).from_sources(settings_file, values or [])
    if json_output:
        print_json({"settings": settings.described()})
        return
    for entry in settings.described():
        typer.echo(_in_words(entry))


def _in_words(entry: Mapping[str, Any]) -> str:
    value, default = (json.dumps(entry[name], ensure_ascii=False) for name in ("value", "default"))
    return f"{entry['name']} = {value}{'' if value == default else f' (default {default})'}  {entry['help']}"


ListRefinementSettings = Annotated[bool, _list_settings("helixlab.reconstruct", "RefinementSettings")]
ListParticleSettings = Annotated[bool, _list_settings("helixlab.simulate", "ParticleSettings")]
