"""What a run leaves behind: maps, FSC curves for people and for EMDB, particles for RELION and CryoSPARC."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from helixlab.errors import FileFormatError
from helixlab.geometry import Volume
from helixlab.io import ParticleStack, write_particles, write_volume
from helixlab.io.image_stacks import locate_image_file
from helixlab.record import write_bytes, write_fsc_csv, write_json
from helixlab.validate import FSCCurve, FSCResult


def write_results(
    folder: str | os.PathLike[str],
    volumes: Mapping[str, Volume],
    particles: ParticleStack,
    summary: Mapping[str, Any],
    fsc: FSCResult,
    fsc_label: str,
) -> dict[str, str]:
    """Write a run's results, in place of those of an earlier end of the same run.

    Parameters
    ----------
    folder : path
        The run's.
    volumes : mapping
        "map", "half1", "half2", "mask", ... by name.
    particles : ParticleStack
        With refined poses; written as STAR and ``.cs``.
    summary : mapping
        Plain values for ``result.json``.
    fsc : FSCResult
        Its curves, of one grid of frequencies.
    fsc_label : str
        The curve that ``fsc.xml`` takes to EMDB.

    Returns
    -------
    dict
        The files by name, relative to the folder.
    """
    path = Path(folder)
    files = {name: f"{name}.mrc" for name in volumes}
    for name, volume in volumes.items():
        write_volume(path / files[name], volume, overwrite=True)
    write_fsc_csv(path / "fsc.csv", fsc, overwrite=True)
    write_fsc_xml(path / "fsc.xml", fsc.curve(fsc_label), overwrite=True)
    findable = _findable_from(path, particles)
    for name in ("particles.star", "particles.cs"):
        write_particles(path / name, findable, overwrite=True)
    files |= {"fsc_csv": "fsc.csv", "fsc_xml": "fsc.xml"}
    files |= {"particles": "particles.star", "particles_cs": "particles.cs", "result": "result.json"}
    write_json(path / "result.json", {**summary, "files": files}, overwrite=True)
    return files


def write_fsc_xml(path: str | os.PathLike[str], curve: FSCCurve, *, overwrite: bool = False) -> None:
    """Write an FSC curve as EMDB takes it at deposition.

    Raises
    ------
    HelixLabError
        If the file exists and ``overwrite`` is false.
    """
    root = ElementTree.Element(
        "fsc", title=f"HelixLab FSC, {curve.label}", xaxis="Resolution (A-1)", yaxis="Correlation Coefficient"
    )
    for freq_per_A, value in zip(curve.freq_per_A.tolist(), curve.fsc.tolist(), strict=True):
        point = ElementTree.SubElement(root, "coordinate")
        ElementTree.SubElement(point, "x").text = f"{freq_per_A:.6f}"
        ElementTree.SubElement(point, "y").text = f"{value:.6f}"
    ElementTree.indent(root)
    write_bytes(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n", overwrite=overwrite)


def _findable_from(folder: Path, stack: ParticleStack) -> ParticleStack:
    """The stack, its image files named by their whole paths unless a table in the folder finds them as they are."""
    source = stack.source
    paths = [locate_image_file(name, source.path, source.images_root).absolute() for name in stack.image_files]
    for name, path in zip(stack.image_files, paths, strict=True):
        with contextlib.suppress(FileFormatError):
            if locate_image_file(name, folder / "particles.star", None).samefile(path):
                continue
        return stack.replace(image_files=tuple(map(str, paths)))
    return stack
