"""Imposing symmetry: the whole map against ``relion_helix_toolbox --impose``, and the slices a slider needs."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import relion
from benchmarks.maps import DENSE, Filament, make_maps
from benchmarks.process import all_cores, measure_apart, time_calls, time_in_turns
from benchmarks.report import Row, seconds
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import read_volume, write_volume
from helixlab.kernels.masks import cylindrical_mask
from helixlab.kernels.symmetrize import Symmetrizer, impose_symmetry

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
    for box, limit_s in ((128, 0.010), (256, 0.030))[: 1 if quick else 2]:
        path = make_maps(folder, DENSE, box)["map"]
        got = measure_apart("impose_rows:measure_sections", path=path, repeats=3 if quick else 20)
        found.append(
            Row(
                work=f"slices of the imposed map as a slider moves, {box}³",
                target=f"median ≤ {1e3 * limit_s:.0f} ms, no compilation",
                measured=f"{1e3 * got['run_s']:.0f} ms, median {1e3 * got['median_s']:.0f} ms, slowest "
                f"{1e3 * got['slowest_s']:.0f} ms",
                is_met=got["median_s"] <= limit_s and got["compilations"] == 0,
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
    """Each call with another twist and rise, as a slider sends them; what comes once for a map is compile_s."""
    lowered: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _s, **_: lowered.append(event) if event.endswith("jaxpr_to_mlir_module_duration") else None
    )
    volume = read_volume(Path(path))
    start = time.perf_counter()
    symmetrizer = Symmetrizer(volume, z_fraction=0.5, outer_radius_A=DENSE.outer_radius_A)
    symmetrizer.warm_up()
    compile_s, n_before, times = time.perf_counter() - start, len(lowered), []
    for part in np.linspace(0.0, 1.0, repeats):
        symmetry = HelicalSymmetry(-101.1 + 6.1 * part, DENSE.rise_A * (1.0 + part))
        start = time.perf_counter()
        symmetrizer.sections(symmetry)
        times.append(time.perf_counter() - start)
    return {
        "run_s": min(times),
        "median_s": float(np.median(times)),
        "slowest_s": max(times),
        "compile_s": compile_s,
        "compilations": len(lowered) - n_before,
    }


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
