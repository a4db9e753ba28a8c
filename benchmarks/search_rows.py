"""The symmetry search: the landscape, how exact twist and rise are, and a whole search warm and cold."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import relion
from benchmarks.maps import DENSE, Filament, filaments, make_maps
from benchmarks.process import measure_apart, time_calls, time_in_turns
from benchmarks.report import Row, seconds
from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume, wrap_deg
from helixlab.io import read_volume
from helixlab.search import SearchSettings, compute_landscape, prepare_filament, search_axes, search_symmetry
from helixlab.simulate import simulate_helix

_RISES_A = (2.0, 40.0)
_NOISE_A = 8.0
"""The noisy half maps' FSC falls below 0.143 here."""

_Z_FRACTIONS = (0.3, 0.8)
"""RELION's default, and nearly all that its sphere leaves: the better answer counts as RELION's."""


# --- every twist and rise -------------------------------------------------------------------------


def landscape_rows(folder: Path, *, quick: bool) -> list[Row]:
    path = make_maps(folder, DENSE, 128)["map"]
    got = measure_apart("search_rows:measure_landscape", path=path, repeats=3 if quick else 8, wide=not quick)
    theirs, is_met = "", got["run_s"] <= 0.5 and got["n_pairs"] >= 800_000 and got["rank"] == 1
    ours_per_s = got["n_pairs"] / got["run_s"]
    if "relion_s" in got:
        theirs_per_s = got["relion_candidates"] / got["relion_s"]
        is_met = is_met and ours_per_s >= 5000 * theirs_per_s
        theirs = f"{theirs_per_s:.0f} candidates/s ({ours_per_s / theirs_per_s:,.0f}×)"
    return [
        Row(
            work="landscape, all twists × rises 2–40 Å, 128³",
            target="≤ 0.5 s warm; ≥ 800,000 pairs; ≥ 5,000× RELION's candidates/s; true pair first",
            measured=f"{seconds(got['run_s'])} with sampling the map ({seconds(got['landscape_s'])} without), "
            f"{got['n_pairs']:,} pairs, {ours_per_s:,.0f}/s, place of the true pair {got['rank']}",
            is_met=is_met,
            run_s=got["run_s"],
            compile_s=got["compile_s"],
            cores=got["cores"],
            peak_MB=got["peak_MB"],
            relion=theirs,
            details=got,
        )
    ]


def measure_landscape(path: str, repeats: int, wide: bool) -> dict[str, Any]:
    volume = read_volume(Path(path))
    filament = prepare_filament(volume)
    twist_deg, rise_A = search_axes(filament, (-180.0, 180.0), _RISES_A)

    def whole() -> Any:
        return compute_landscape(prepare_filament(volume), twist_deg, rise_A)

    run_s, compile_s = time_calls(whole, 1)
    found: dict[str, Any] = {"compile_s": compile_s}
    if relion.is_installed():
        reach = {"half_twist_deg": 20.0, "half_rise": 0.2} if wide else {"half_twist_deg": 2.0, "half_rise": 0.02}
        answers: list[relion.Found] = []
        search = lambda: answers.append(relion.search(path, DENSE, z_fraction=0.3, **reach))  # noqa: E731
        run_s, relion_s = time_in_turns(whole, search, 2)
        found |= {"relion_s": relion_s, "relion_candidates": answers[-1].n_candidates}
    run_s = min(run_s, time_calls(whole, repeats)[0])
    landscape_s, _ = time_calls(lambda: compute_landscape(filament, twist_deg, rise_A), repeats)
    landscape = whole()
    steps = {"twist_tol_deg": float(np.diff(twist_deg)[0]), "rise_tol_A": float(np.diff(rise_A)[0])}
    rank = _rank(DENSE.symmetry, [HelicalSymmetry(t, r) for t, r in zip(*landscape.peaks(200), strict=True)], steps)
    return found | {"run_s": run_s, "landscape_s": landscape_s, "n_pairs": landscape.n_pairs, "rank": rank}


def _rank(truth: HelicalSymmetry, peaks: list[HelicalSymmetry], steps: dict[str, float]) -> int:
    """Place of the true pair among the peaks, 0 if it is none; its own multiples are the same answer."""
    place = 1
    for peak in peaks:
        if peak.is_equivalent(truth, **steps):
            return place
        place += not peak.is_subgroup_of(truth, **steps)
    return 0


# --- how exact ------------------------------------------------------------------------------------


def accuracy_rows(folder: Path, *, quick: bool) -> list[Row]:
    clean = [_accuracy(folder, f, None, 0) for f in (filaments()[:1] if quick else filaments())]
    noisy = [_accuracy(folder, DENSE, _NOISE_A, seed) for seed in range(1 if quick else 4)]
    worst = [max(abs(c["ours"][i]) for c in clean) for i in (0, 1)]
    row = Row(
        work=f"refined twist and rise, clean maps ({len(clean)}), 128³",
        target="errors ≤ 0.002°, ≤ 0.002 Å",
        measured=f"worst {worst[0]:.4f}°, {worst[1]:.4f} Å",
        is_met=worst[0] <= 0.002 and worst[1] <= 0.002,
        relion=_worst_of_relion(clean),
        details={"maps": clean},
    )
    rms = {who: _rms(noisy, who) for who in ("ours", "ours_halves", "relion") if who in noisy[0]}
    is_met, theirs = None, ""
    if "relion" in rms:
        is_met = all(a <= b for a, b in zip(rms["ours"], rms["relion"], strict=True))
        theirs = f"rms {rms['relion'][0]:.4f}°, {rms['relion'][1]:.4f} Å on the same single maps"
    noisy_row = Row(
        work=f"refined twist and rise, noisy maps ({len(noisy)}), FSC 0.143 at {_NOISE_A:g} Å, 128³",
        target="no worse than RELION's search",
        measured=f"rms {rms['ours'][0]:.4f}°, {rms['ours'][1]:.4f} Å from the single map; "
        f"{rms['ours_halves'][0]:.4f}°, {rms['ours_halves'][1]:.4f} Å from the half maps",
        is_met=is_met,
        relion=theirs,
        details={"maps": noisy},
    )
    return [row, noisy_row]


def coverage_rows(folder: Path, *, quick: bool) -> list[Row]:
    seeds = 10 if quick else 100
    found = measure_apart("search_rows:measure_coverage", seeds=seeds)
    twist, rise, both = (found[name] for name in ("twist", "rise", "both"))
    return [
        Row(
            work=f"truth within 2 standard errors, half maps of FSC 0.143 at 7 Å, {seeds} seeds",
            target="at least 90 in 100",
            measured=f"twist {twist}, rise {rise}, both {both}; true symmetry first in {found['first']}",
            is_met=min(twist, rise) >= 0.9 * seeds,
            relion="gives no standard error",
            details=found,
        )
    ]


def measure_coverage(seeds: int) -> dict[str, Any]:
    """How often twist and rise of the first candidate lie within two of its standard errors of the truth."""
    truth = DENSE.symmetry
    counts = {"first": 0, "twist": 0, "rise": 0, "both": 0}
    for seed in range(seeds):
        sim = simulate_helix(
            "builtin", truth, box=96, pixel_size_A=2.0, resolution_A=5.0, fsc_resolution_A=7.0, seed=seed
        )
        best = search_symmetry(sim.half1, sim.half2).best
        counts["first"] += best.symmetry.is_equivalent(truth, twist_tol_deg=0.3, rise_tol_A=0.1)
        twist = abs(wrap_deg(best.symmetry.twist_deg - truth.twist_deg)) <= 2 * (best.twist_se_deg or 0.0)
        rise = abs(best.symmetry.rise_A - truth.rise_A) <= 2 * (best.rise_se_A or 0.0)
        counts["twist"] += twist
        counts["rise"] += rise
        counts["both"] += twist and rise
    return counts


def _accuracy(folder: Path, filament: Filament, noise_A: float | None, seed: int) -> dict[str, Any]:
    paths = make_maps(folder, filament, 128, fsc_resolution_A=noise_A, seed=seed)
    return measure_apart("search_rows:measure_accuracy", paths=paths, filament=asdict(filament))


def measure_accuracy(paths: dict[str, str], filament: dict[str, Any]) -> dict[str, Any]:
    """Errors (twist in degrees, rise in Å) of ours on the whole plane, and of RELION's search near the truth."""
    truth = Filament(**filament)
    volume = read_volume(Path(paths["map"]))
    found: dict[str, Any] = {"name": truth.name, "ours": _error_of_search([volume], truth)}
    if "half1" in paths:
        halves = [read_volume(Path(paths[name])) for name in ("half1", "half2")]
        found["ours_halves"] = _error_of_search(halves, truth)
    if relion.is_installed():
        errors = []
        for z_fraction in _Z_FRACTIONS:
            try:
                answer = relion.search(paths["map"], truth, half_twist_deg=2.0, half_rise=0.02, z_fraction=z_fraction)
            except RuntimeError:  # its sphere holds less of a wide filament than asked for
                continue
            errors.append((answer.twist_deg - truth.twist_deg, answer.rise_A - truth.rise_A))
        if errors:
            best = min(errors, key=lambda e: np.hypot(np.deg2rad(e[0]) * truth.outer_radius_A, e[1]))
            found["relion"] = best
    return found


def _error_of_search(maps: list[Volume], truth: Filament) -> tuple[float, float]:
    """Twist modulo 360°/n; a wrong screw is the large error that it is, and no answer the largest there is."""
    period = 360.0 / truth.symmetry.cyclic_order
    try:
        symmetry = search_symmetry(*maps).best.symmetry
    except HelixLabError:
        return period / 2, truth.rise_A
    return wrap_deg(symmetry.twist_deg - truth.twist_deg, period), symmetry.rise_A - truth.rise_A


def _rms(cases: list[dict[str, Any]], who: str) -> tuple[float, float]:
    squares = np.mean(np.square([case[who] for case in cases]), axis=0)
    return float(np.sqrt(squares[0])), float(np.sqrt(squares[1]))


def _worst_of_relion(cases: list[dict[str, Any]]) -> str:
    errors = np.abs([case["relion"] for case in cases if "relion" in case])
    return f"worst {errors[:, 0].max():.4f}°, {errors[:, 1].max():.4f} Å" if len(errors) else ""


# --- a whole search -------------------------------------------------------------------------------


def search_rows(folder: Path, *, quick: bool) -> list[Row]:
    found = []
    for box in (128,) if quick else (128, 256):
        path = make_maps(folder, DENSE, box)["map"]
        cold = measure_apart("search_rows:measure_search", path=path, repeats=0)
        warm = measure_apart("search_rows:measure_search", path=path, repeats=1 if quick else 3)
        found.append(
            Row(
                work=f"search_symmetry, one map, {box}³, defaults",
                target="right; memory < 2000 MB" if box == 256 else "right",
                measured=f"{seconds(warm['run_s'])} warm, {seconds(cold['process_s'])} as a new process; "
                f"{warm['pairs']:,} pairs; {warm['answer']}",
                is_met=warm["is_right"] and (box != 256 or max(cold["peak_MB"], warm["peak_MB"]) < 2000),
                run_s=warm["run_s"],
                compile_s=warm["compile_s"],
                cores=warm["cores"],
                peak_MB=max(cold["peak_MB"], warm["peak_MB"]),
                details={"cold": cold, "warm": warm},
            )
        )
    return found


def measure_search(path: str, repeats: int) -> dict[str, Any]:
    volume = read_volume(Path(path))
    answers = []
    search = lambda: answers.append(search_symmetry(volume, settings=SearchSettings()))  # noqa: E731
    if not repeats:
        search()
        return {}
    run_s, compile_s = time_calls(search, repeats)
    best = answers[-1].best.symmetry
    is_right = best.is_equivalent(DENSE.symmetry, twist_tol_deg=0.01, rise_tol_A=0.01)
    return {
        "run_s": run_s,
        "compile_s": compile_s,
        "pairs": answers[-1].pairs_evaluated,
        "answer": str(best),
        "is_right": is_right,
    }
