"""Options that several commands share, and how the library's field names read as options.

Eager ones are known before what a command requires is found missing: ``--list-settings`` heeds them.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

MapFile = Annotated[Path, typer.Argument(metavar="MAP", help="Map (MRC, MAP or CCP4; .gz or .bz2 too).")]
JsonOutput = Annotated[
    bool, typer.Option("--json", is_eager=True, help="Print one JSON object on stdout, and nothing else.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist already.")]
Twist = Annotated[float, typer.Option("--twist", metavar="DEG", help="Rotation per subunit, right-handed positive.")]
Rise = Annotated[float, typer.Option("--rise", metavar="A", help="Shift per subunit along the axis in Å, > 0.")]
PointGroup = Annotated[str, typer.Option("--point-group", metavar="Cn|Dn", help="Point group about the axis.")]
PixelSize = Annotated[
    float | None,
    typer.Option("--pixel-size", metavar="A", help="Å per voxel, in place of what the maps' headers say."),
]
Half2 = Annotated[
    Path | None,
    typer.Option("--half2", metavar="MAP", help="The other half map, MAP being the first; noise then adds no bias."),
]
InnerRadius = Annotated[
    float | None, typer.Option("--inner-radius", metavar="A", help="Leave out density nearer to the axis than this, Å.")
]
OuterRadius = Annotated[
    float | None, typer.Option("--outer-radius", metavar="A", help="Leave out density farther from the axis, Å.")
]
ImagesRoot = Annotated[
    Path | None, typer.Option("--images-root", metavar="DIR", help="Folder that image names are relative to.")
]
Passthrough = Annotated[
    list[Path] | None,
    typer.Option("--passthrough", metavar="CS", help="CryoSPARC's further columns of a .cs; may be repeated."),
]
OutputMap = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Map to write (.mrc, .map, .mrc.gz).")]
OutputFolder = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the results into this folder.")]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE", is_eager=True, help="Settings by name, as JSON; --set and options win."),
]
SetValues = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", is_eager=True, help="A setting, the value as JSON; may be repeated."),
]

FIELD_OPTIONS = {
    "twist_range_deg": "--twist-range",
    "rise_range_A": "--rise-range",
    "inner_radius_A": "--inner-radius",
    "outer_radius_A": "--outer-radius",
    "align_axis": "--no-align",
    "max_candidates": "--max-candidates",
    "point_group": "--point-group",
    "point group": "--point-group",
    "twist_deg": "--twist",
    "rise_A": "--rise",
    "pitch_A": "--pitch",
    "subunits_per_turn": "--subunits-per-turn",
    "pixel_size_A": "--pixel-size",
    "resolution_A": "--resolution",
    "z_fraction": "--z-fraction",
    "fsc_resolution_A": "--fsc-resolution",
    "tilt_deg": "--tilt",
    "offset_px": "--offset",
    "images_root": "--images-root",
    "box_px": "--box",
    "n_filaments": "--filaments",
    "segments_per_filament": "--segments",
    "inter_box_distance_A": "--distance",
}
"""Names in the library's messages and the options by which a user of the command line gives them."""

_PLAIN_WORDS = re.compile(r"^(box|noise|seed|mask|volume|hypotheses)(?=: )")
"""Fields that are plain words too: they are options only where they name what a message is about."""

_FIELD = re.compile(r"(?<![\w.\"'])(?<!--set )(" + "|".join(map(re.escape, FIELD_OPTIONS)) + r")(?![\w\"'])")


def in_option_words(message: str, options: Collection[str] | None = None) -> str:
    """A message of the library as one line that speaks of options, not of Python arguments.

    Parameters
    ----------
    message : str
    options : collection of str, optional
        Those that the command has; a field that none of them gives keeps its name. Default: any.

    Examples
    --------
    >>> message = "map.mrc: the voxel size is 0; correct it or pass it, e.g. read_volume(path, pixel_size_A=1.06)."
    >>> in_option_words(message)
    'map.mrc: the voxel size is 0; correct it or pass it, e.g. --pixel-size 1.06.'
    >>> in_option_words(message, {"--volume"})
    'map.mrc: the voxel size is 0; correct it.'
    >>> in_option_words("rise_A: found -1.0; the rise is a positive length in Å.")
    '--rise: found -1.0; the rise is a positive length in Å.'
    >>> in_option_words("seed: found 3; set mask=dynamic (in Python f(3)).", {"--mask", "--set"})
    'seed: found 3; --set mask=dynamic.'
    """

    def option(found: re.Match[str]) -> str:
        word = FIELD_OPTIONS.get(found[1], f"--{found[1]}")
        return word if options is None or word in options else found[1]

    message = " ".join(message.split())
    message = re.sub(r" \(in Python .*?\)(?=[ .,;:]|$)", "", message)
    if options is not None and "--pixel-size" not in options:
        message = re.sub(r" or pass [\w ]*, e\.g\. read_volume\([^)]*\)", "", message)
    message = re.sub(r"read_volume\(path, pixel_size_A=([\d.]+)\)", r"--pixel-size \1", message)
    message = re.sub(r"overwrite=True", "--overwrite", message)
    message = re.sub(r"(?<!-)\b[Ss]et (?=\w+=)", "--set ", message)
    return _FIELD.sub(option, _PLAIN_WORDS.sub(option, message))
