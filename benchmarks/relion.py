"""RELION's helix toolbox, where it is installed."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.maps import Filament

_PROGRAM = "relion_helix_toolbox"


class Found(NamedTuple):
    """What RELION's search answers."""

    twist_deg: float
    rise_A: float
    n_candidates: int


def is_installed() -> bool:
    return shutil.which(_PROGRAM) is not None


def impose(map_path: str, out_path: str, filament: Filament, outer_radius_A: float) -> None:
    """Real-space symmetrisation of the central 30%."""
    options = {
        "--i": map_path,
        "--o": out_path,
        "--angpix": filament.pixel_size_A,
        "--cyl_outer_diameter": 2 * outer_radius_A,
        "--z_percentage": 0.3,
        "--twist": filament.twist_deg,
        "--rise": filament.rise_A,
    }
    _run(["--impose"], options)


def search(map_path: str, filament: Filament, *, half_twist_deg: float, half_rise: float, z_fraction: float) -> Found:
    """Search a range about the truth, its centre a little off so that the truth is no node of the first grid.

    ``half_twist_deg`` and ``half_rise`` (a part of the rise) are the range's half widths.
    """
    twist = filament.twist_deg + 0.12 * half_twist_deg
    rise = filament.rise_A * (1 + 0.13 * half_rise)
    options = {
        "--i": map_path,
        "--angpix": filament.pixel_size_A,
        "--cyl_outer_diameter": 2 * filament.outer_radius_A,
        "--z_percentage": z_fraction,
        "--twist_min": twist - half_twist_deg,
        "--twist_max": twist + half_twist_deg,
        "--rise_min": rise - half_rise * filament.rise_A,
        "--rise_max": rise + half_rise * filament.rise_A,
    }
    text = _run(["--search", "--verb"], options)
    refined = re.findall(r"Refined Twist = (-?[\d.e+-]+), Rise = ([\d.e+-]+)", text)
    if not refined:
        raise RuntimeError(f"{_PROGRAM} --search printed no refined twist and rise:\n{text[-1000:]}")
    return Found(float(refined[-1][0]), float(refined[-1][1]), len(re.findall(r"^ ?NEW", text, re.MULTILINE)))


def _run(task: list[str], options: dict[str, str | float]) -> str:
    command = [_PROGRAM, *task, *(str(word) for option in options.items() for word in option)]
    folder = Path(str(options["--i"])).parent
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[:1000]}")
    return done.stdout
