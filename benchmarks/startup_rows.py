"""How soon one can begin, and the FSC."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.maps import DENSE, make_maps
from benchmarks.process import measure_apart, time_calls
from benchmarks.report import Row, seconds
from helixlab.io import read_volume
from helixlab.validate import compute_fsc


def rows(folder: Path, *, quick: bool) -> list[Row]:
    bare, ours = ("pass", "import helixlab")
    import_s = max(0.0, _python_s(ours) - _python_s(bare))
    found = [Row(work="import helixlab", target="—", measured=f"{1e3 * import_s:.0f} ms beyond Python's own start")]
    for box in (128,) if quick else (128, 256):
        paths = make_maps(folder, DENSE, box, fsc_resolution_A=7.0)
        got = measure_apart("startup_rows:measure_fsc", half1=paths["half1"], half2=paths["half2"], repeats=3)
        found.append(
            Row(
                work=f"FSC of half maps, {box}³",
                target="—",
                measured=f"{seconds(got['run_s'])}, 0.143 at {got['resolution_A']:.2f} Å",
                run_s=got["run_s"],
                compile_s=got["compile_s"],
                cores=got["cores"],
                peak_MB=got["peak_MB"],
                details=got,
            )
        )
    return found


def measure_fsc(half1: str, half2: str, repeats: int) -> dict[str, Any]:
    first, second = read_volume(Path(half1)), read_volume(Path(half2))
    run_s, compile_s = time_calls(lambda: compute_fsc(first, second), repeats)
    curve = compute_fsc(first, second).curve("spherical")
    return {"run_s": run_s, "compile_s": compile_s, "resolution_A": 1 / curve.crossing(0.143).freq_per_A}


def _python_s(code: str) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)
