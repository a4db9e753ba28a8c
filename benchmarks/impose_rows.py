"""Imposing symmetry: the whole map against ``relion_helix_toolbox --impose``, and the slices a slider needs."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import relion
from benchmarks.maps import DENSE, Filament, make_maps
from benchmarks.process import all_cores, measure_apart, time_calls, time_in_turns
from benchmarks.report import Row, seconds
from helixlab.geometry import Volume
from helixlab.io import read_volume, write_volume
from helixlab.kernels.masks import cylindrical_mask
from helixlab.kernels.symmetrize import impose_sections, impose_symmetry

_WIDE_A = 114.0
"""A radius as of a C6 sheath: what is imposed on is a wide cylinder, mostly solvent."""


def rows(folder: Path, *, quick: bool) -> list[Row]:
    cases = [(128, DENSE.outer_radius_A), (256, DENSE.outer_radius_A), (256, _WIDE_A)]
    found = []
    for box, outer_radius_A in cases[:1] if quick else cases:
        path = make_maps(folder, DENSE, box)["map"]
        for cores in dict.fromkeys((1, len(all_cores()))):
            arguments = {"path": path, "outer_radius_A": outer_radius_A, "repeats": 3 if quick else 8}
            got = measure_apart("impose_rows:measure_impose", cores=all_cores()[:cores], **arguments)
            found.append(_impose_row(box, outer_radius_A, got))
    path = make_maps(folder, DENSE, 128)["map"]
    got = measure_apart("impose_rows:measure_sections", path=path, repeats=3 if quick else 20)
    found.append(
        Row(
            work="central slices of the imposed map, 128³",
            target="median ≤ 30 ms",
            measured=f"{1e3 * got['run_s']:.0f} ms, median {1e3 * got['median_s']:.0f} ms",
            is_met=got["median_s"] <= 0.030,
            run_s=got["run_s"],
            compile_s=got["compile_s"],
            cores=got["cores"],
            peak_MB=got["peak_MB"],
            details=got,
        )
    )
    return found


def _impose_row(box: int, outer_radius_A: float, got: dict[str, Any]) -> Row:
    theirs, is_met = "", got["amplitude"] >= 0.95
    if "relion_s" in got:
        ratio = got["relion_s"] / got["run_s"]
        is_met = is_met and ratio >= 1
        theirs = (
            f"{seconds(got['relion_s'])} ({ratio:.1f}×; {got['relion_s'] / got['with_files_s']:.1f}× if ours reads and "
            f"writes files too), amplitude {got['relion_amplitude']:.3f}"
        )
    return Row(
        work=f"impose symmetry, {box}³, radius {outer_radius_A:g} Å",
        target="not slower than RELION; amplitude at half Nyquist ≥ 0.95",
        measured=f"{seconds(got['run_s'])}, amplitude {got['amplitude']:.4f}",
        is_met=is_met,
        run_s=got["run_s"],
        compile_s=got["compile_s"],
        cores=got["cores"],
        peak_MB=got["peak_MB"],
        relion=theirs,
        details=got,
    )


def measure_impose(path: str, outer_radius_A: float, repeats: int) -> dict[str, Any]:
    """Ours in process; theirs as a process, with its reading and writing."""
    volume, filament = read_volume(Path(path)), DENSE
    ours_path, theirs_path = (str(Path(path).with_suffix(f".{who}.mrc")) for who in ("ours", "relion"))

    def ours() -> Volume:
        return impose_symmetry(volume, filament.symmetry, outer_radius_A=outer_radius_A)

    def ours_with_files() -> None:
        read = read_volume(Path(path))
        imposed = impose_symmetry(read, filament.symmetry, outer_radius_A=outer_radius_A)
        write_volume(Path(ours_path), imposed, overwrite=True)

    run_s, compile_s = time_calls(ours, 1)
    found = {"amplitude": amplitude_kept(volume, ours(), filament), "compile_s": compile_s}
    if relion.is_installed():
        run_s, relion_s = time_in_turns(
            ours, lambda: relion.impose(path, theirs_path, filament, outer_radius_A), repeats
        )
        imposed = read_volume(Path(theirs_path), pixel_size_A=volume.pixel_size_A)
        found |= {"relion_s": relion_s, "relion_amplitude": amplitude_kept(volume, imposed, filament)}
    else:
        run_s, _ = time_calls(ours, repeats)
    with_files_s, _ = time_calls(ours_with_files, max(2, repeats // 2))
    return found | {"run_s": run_s, "with_files_s": with_files_s}


def measure_sections(path: str, repeats: int) -> dict[str, Any]:
    """Each call with another twist, as a slider sends them."""
    volume, twists = read_volume(Path(path)), iter(np.linspace(-101.1, -95.0, repeats + 1))

    def next_sections() -> None:
        symmetry = Filament("", float(next(twists)), DENSE.rise_A).symmetry
        impose_sections(volume, symmetry, outer_radius_A=DENSE.outer_radius_A)

    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        next_sections()
        times.append(time.perf_counter() - start)
    warm = times[1:]
    return {"run_s": min(warm), "median_s": float(np.median(warm)), "compile_s": times[0] - min(warm)}


def amplitude_kept(before: Volume, after: Volume, filament: Filament) -> float:
    """Root of the ratio of powers in the shell at half the Nyquist frequency, in a soft tube of 60% of the height."""
    radius_px = (filament.outer_radius_A - 2.0) / before.pixel_size_A
    tube = np.asarray(cylindrical_mask(before.shape, radius_px, z_fraction=0.6))
    freq = [np.fft.fftfreq(n) for n in before.shape]
    radius = np.sqrt(
        freq[0][:, None, None] ** 2 + freq[1][:, None] ** 2 + np.abs(freq[2][: len(freq[2]) // 2 + 1]) ** 2
    )
    shell = np.abs(radius - 0.25) < 0.5 / before.shape[0]
    power = [np.sum(np.abs(np.fft.rfftn(v.data * tube)[shell]) ** 2) for v in (before, after)]
    return float(np.sqrt(power[1] / power[0]))
