"""Whole refinements of known filaments, from no model: against their truth, and against what the true poses reach.

The filaments are made and compared with their truth by programs that share no code with HelixLab, ``make_helix.py``
and ``compare_truth.py``. They lie in a folder ``peers`` beside the folder that ``HELIXLAB_DATA`` names, or above it;
without them the rows say that they were not measured.
"""

import json
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks import relion
from benchmarks.process import Ran, all_cores, measure_apart, run_command
from benchmarks.report import Row, seconds
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import read_particles, write_volume
from helixlab.kernels.bands import frame_shifts
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.masking import dynamic_mask
from helixlab.reconstruct.maximisation import accumulate, half_map, symmetrised, symmetrised_in_real_space
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import prepare_particles
from helixlab.reconstruct.state import symmetry_order


@dataclass(frozen=True)
class Filament:
    """What is made, and the symmetry that a refinement starts from."""

    name: str
    symmetry: HelicalSymmetry
    start: HelicalSymmetry
    box_px: int
    pixel_A: float
    n_segments: int
    snr: float
    seed: int

    def __str__(self) -> str:
        return f"{self.name}: {self.n_segments} segments, box {self.box_px}, SNR {self.snr:g}"


_A96 = Filament("A96", HelicalSymmetry(-101.1, 5.13), HelicalSymmetry(-100.7, 5.16), 96, 2.7, 600, 0.05, 2)
_A128 = Filament("A128", _A96.symmetry, HelicalSymmetry(-100.9, 5.15), 128, 2.0, 2000, 0.05, 1)
_C6 = Filament("C6", HelicalSymmetry(29.4, 21.8, "C6"), HelicalSymmetry(29.1, 21.6, "C6"), 128, 2.0, 1000, 0.05, 3)

_SUBUNITS = (-1, 1)
"""Fewer and more of them in a turn of the same pitch: the nearest of other symmetries."""

_SEEDS = (0, 1)
"""Of refinements whose resolutions are compared: from one to the next they differ by a shell."""

_NEAR_TRUE_POSES = 1.15
"""A refinement may end this much coarser than the map at the true poses."""


def rows(folder: Path) -> list[Row]:
    peers = _peers()
    if peers is None:
        reason = "not measured: no folder peers with make_helix.py beside the folder that HELIXLAB_DATA names, or above"
        return [Row(work="refine filaments of known symmetry and poses", target="—", measured=reason)]
    found = _a96_rows(peers, folder / "a96")
    for filament in (_A128, _C6):
        data = _make(filament, peers, folder / filament.name / "data")
        found += [*_ceiling_rows(filament, data, peers, folder / filament.name), _ranking_row(filament, data)]
    # At SNR 0.02 nearly every segment still tells its own polarity.
    weak = [replace(_A96, snr=snr) for snr in (0.02, 0.01)]
    return [*found, *(_coherence_row(filament, peers, folder / f"snr-{filament.snr:g}") for filament in weak)]


def refine_twice(star: Path, folder: Path, start: HelicalSymmetry) -> tuple[Ran, Ran]:
    """With nothing compiled before, and again."""
    cold, warm = (_refine(star, folder / name, start, folder / "cache") for name in ("cold", "warm"))
    return cold, warm


def time_row(what: str, cold: Ran, warm: Ran | None = None, *, limit_s: float | None = None) -> Row:
    found = summary(cold)
    again = "" if warm is None else f", {seconds(warm.wall_s)} again ({seconds(warm.cpu_s)})"
    return Row(
        work=f"refine {what}, from no model",
        target="—" if limit_s is None else f"≤ {limit_s:.0f} s on two cores, compile included",
        # On a busy machine the cores' time says more than the clock.
        measured=f"{seconds(cold.wall_s)} with nothing compiled before ({seconds(cold.cpu_s)} of all cores){again}; "
        f"load {os.getloadavg()[0]:.1f}; {found['iterations']} iterations, {'' if found['converged'] else 'not '}"
        "converged",
        is_met=None if limit_s is None else cold.wall_s <= limit_s,
        run_s=None if warm is None else warm.wall_s,
        compile_s=None if warm is None else max(0.0, cold.wall_s - warm.wall_s),
        cores=len(_cores()),
        peak_MB=cold.peak_MB,
        relion="" if relion.is_installed() else "RELION is not installed",
        details={"cold": found, "cold_cpu_s": cold.cpu_s} | ({} if warm is None else {"warm": summary(warm)}),
    )


def polarity_row(what: str, ran: Ran, truth_star: Path, *, least: float) -> Row:
    right = right_polarities(Path(summary(ran)["particles"]), truth_star)
    return Row(
        work=f"{what}: segments whose polarity is right",
        target=f"≥ {least:.0%}",
        measured=f"{right:.1%}",
        is_met=right >= least,
        details={"right": right},
    )


def right_polarities(refined: Path, truth: Path) -> float:
    """Tables of the same rows; a map upside down, with all polarities the other way, is as right."""
    psi, true = (np.asarray(read_particles(path).psi_deg) for path in (refined, truth))
    is_right = np.abs((psi - true + 180) % 360 - 180) < 90
    return float(max(is_right.mean(), 1 - is_right.mean()))


def summary(ran: Ran) -> dict[str, Any]:
    """What ``helixlab refine --json`` or ``compare --json`` printed."""
    return json.loads(ran.stdout)


def map_at_true_poses(truth_star: str, symmetry: dict[str, Any], out: str) -> dict[str, Any]:
    """Write the map that a refinement would make if it found every pose, with the true symmetry imposed."""
    settings = RefinementSettings(**symmetry)
    true = HelicalSymmetry(**symmetry)
    truth = read_particles(truth_star)
    particles = prepare_particles(truth, settings)
    psi_deg, n = np.asarray(truth.psi_deg), len(particles)
    # In frames that are turned by the psi priors, or by their opposites.
    left_deg = (psi_deg - particles.psi_prior_deg + 180) % 360 - 180
    is_flipped = np.abs(left_deg) > 90
    frame_deg = particles.psi_prior_deg + 180 * is_flipped
    angles = np.stack([np.asarray(truth.rot_deg), np.asarray(truth.tilt_deg), psi_deg - frame_deg], axis=1)
    shift_px = np.stack([np.asarray(truth.shift_x_A), np.asarray(truth.shift_y_A)], axis=1) / particles.pixel_size_A
    framed = np.asarray(frame_shifts(jnp.asarray(shift_px, jnp.float32), jnp.asarray(frame_deg, jnp.float32)))
    poses = Poses(np.arange(n), is_flipped, angles, framed.astype(float), np.ones(n))

    total = accumulate(particles, poses, image_power(particles))
    order = symmetry_order(particles, settings, true)
    total = symmetrised(total, true, true.point_group, order=order, box_A=particles.box_A)
    made = Volume(half_map(total, box_px=particles.box_px), particles.pixel_size_A)
    outer_A = dynamic_mask(made, settings).outer_radius_A
    write_volume(out, symmetrised_in_real_space(made, true, outer_A))
    return {"map": out, "outer_radius_A": outer_A}


# --- cases --------------------------------------------------------------------------------------


def _a96_rows(peers: Path, folder: Path) -> list[Row]:
    data = _make(_A96, peers, folder / "data")
    cold, warm = refine_twice(data / "particles.star", folder, _A96.start)
    found, truth = summary(cold), _against_truth(summary(cold)["map"], data, peers)
    true_A, claimed_A = truth["fsc05_vs_truth_A"], found["resolution_A"]
    # Half maps that correlate by 0.143 have a mean that correlates by 0.5 with the truth.
    excess = true_A / claimed_A - 1
    return [
        time_row(str(_A96), cold, warm, limit_s=45.0),
        _truth_row(_A96, truth, "≤ 5.9 Å", 5.9),
        Row(
            work=f"{_A96}: resolution that the half maps claim",
            target="at most 10% better than against truth",
            measured=f"{_resolution(claimed_A, _A96)}, {abs(excess):.0%} {'better' if excess > 0 else 'worse'}",
            is_met=excess <= 0.1,
            details={"excess": excess},
        ),
        _symmetry_row(_A96, found),
        polarity_row(str(_A96), cold, data / "truth.star", least=0.99),
        _time_of_comparing_row(_A96, data),
        _ranking_row(_A96, data),
    ]


def _ceiling_rows(filament: Filament, data: Path, peers: Path, folder: Path) -> list[Row]:
    ran = _refine(data / "particles.star", folder / "run", filament.start)
    made = measure_apart(
        "truth_rows:map_at_true_poses",
        truth_star=str(data / "truth.star"),
        symmetry=_numbers(filament.symmetry),
        out=str(folder / "true_poses.mrc"),
    )
    ceiling_A = _against_truth(made["map"], data, peers)["fsc05_vs_truth_A"]
    wanted = f"≤ {_NEAR_TRUE_POSES} × {_resolution(ceiling_A, filament)} at the true poses"
    return [
        time_row(str(filament), ran),
        _truth_row(filament, _against_truth(summary(ran)["map"], data, peers), wanted, _NEAR_TRUE_POSES * ceiling_A),
        _symmetry_row(filament, summary(ran)),
        polarity_row(str(filament), ran, data / "truth.star", least=0.9),
    ]


def _coherence_row(filament: Filament, peers: Path, folder: Path) -> Row:
    """Filament coherence against itself switched off."""
    data = _make(filament, peers, folder / "data")
    right: dict[bool, list[float]] = {True: [], False: []}
    reached_A: dict[bool, list[float]] = {True: [], False: []}
    for is_on in (True, False):
        for seed in _SEEDS:
            switches = ("--set", f"filament_coherence={str(is_on).lower()}", "--set", f"seed={seed}")
            out = folder / f"{is_on}-{seed}"
            found = summary(_refine(data / "particles.star", out, filament.start, extra=switches))
            right[is_on].append(right_polarities(Path(found["particles"]), data / "truth.star"))
            reached_A[is_on].append(_against_truth(found["map"], data, peers)["fsc05_vs_truth_A"])
    share, mean_A = ({is_on: float(np.mean(v)) for is_on, v in values.items()} for values in (right, reached_A))
    has_room = share[False] < 1.0
    return Row(
        work=f"{filament}: filament coherence, {len(_SEEDS)} runs each",
        target="more polarities right than without, and FSC 0.5 against truth no worse by 1%",
        measured=f"{share[True]:.2%} and {mean_A[True]:.2f} Å; without {share[False]:.2%} and {mean_A[False]:.2f} Å"
        f"{'' if has_room else ', where nothing is left to gain'}",
        is_met=share[True] > share[False] and mean_A[True] <= 1.01 * mean_A[False] if has_room else None,
        details={"polarity": list(right.values()), "fsc05_vs_truth_A": list(reached_A.values())},
    )


# --- rows ---------------------------------------------------------------------------------------


def _truth_row(filament: Filament, truth: dict[str, Any], target: str, most_A: float) -> Row:
    true_A = truth["fsc05_vs_truth_A"]
    return Row(
        work=f"{filament}: FSC 0.5 against truth",
        target=target,
        measured=_resolution(true_A, filament),
        is_met=true_A <= most_A,
        details=truth,
    )


def _resolution(found_A: float, filament: Filament) -> str:
    """Curves that do not fall so far are cut off by the Nyquist frequency."""
    is_cut = found_A <= 2.001 * filament.pixel_A
    return f"{found_A:.2f} Å{' (the Nyquist frequency)' if is_cut else ''}"


def _symmetry_row(filament: Filament, found: dict[str, Any]) -> Row:
    true = filament.symmetry
    errors = {
        "twist": (found["twist_deg"] - true.twist_deg, found["twist_se_deg"], "°"),
        "rise": (found["rise_A"] - true.rise_A, found["rise_se_A"], " Å"),
    }
    return Row(
        work=f"{filament}: error of twist and rise",
        target="≤ 2 standard errors",
        measured=", ".join(
            f"{name} {error:+.4f}{unit}" + (", not determined" if se is None else f" ± {se:.4f} ({error / se:+.1f} SE)")
            for name, (error, se, unit) in errors.items()
        ),
        is_met=all(se is not None and abs(error) <= 2 * se for error, se, _ in errors.values()),
        details=errors,
    )


def _time_of_comparing_row(filament: Filament, data: Path) -> Row:
    true = filament.symmetry
    hypotheses = [true, *_near_misses(true), _with_subunits(true, 1)]
    ran = _compare(data, hypotheses)
    found = summary(ran)
    n_maps, n_given = len(found["hypotheses"]), len(hypotheses)
    each_s = ran.wall_s / n_maps
    return Row(
        work=f"{filament}: compare {n_given} hypotheses and {n_maps - n_given} controls at {found['resolution_A']:g} Å",
        target="≤ 10 s each, compile included",
        measured=f"{seconds(each_s)} each, {seconds(ran.wall_s)} in all ({seconds(ran.cpu_s)} of all cores); "
        f"load {os.getloadavg()[0]:.1f}",
        is_met=each_s <= 10.0,
        run_s=ran.wall_s,
        cores=len(_cores()),
        peak_MB=ran.peak_MB,
        details=found,
    )


def _ranking_row(filament: Filament, data: Path) -> Row:
    true = filament.symmetry
    expected = {true: "best", true.mirrored(): "mirror"}
    expected |= dict.fromkeys([*_near_misses(true), *(_with_subunits(true, n) for n in _SUBUNITS)], "worse")
    if true.cyclic_order % 2 == 0:
        expected[replace(true, point_group=f"C{true.cyclic_order // 2}")] = "multiple"
    ran = _compare(data, list(expected))
    found = summary(ran)
    helical = [row for row in found["hypotheses"] if row["kind"] == "helical"]
    verdicts = {HelicalSymmetry(r["twist_deg"], r["rise_A"], r["point_group"]): r["verdict"] for r in helical}
    return Row(
        work=f"{filament}: compare symmetries by held-out likelihood",
        target="truth best, its mirror image and multiples recognised, others worse by 3 standard errors",
        measured="; ".join(
            f"{row['name']} {row['verdict']}, {row['difference']:+.2f} ± {row['difference_se']:.2f}"
            for row in found["hypotheses"]
        ),
        is_met=found["is_decided"] and all(verdicts.get(s) == verdict for s, verdict in expected.items()),
        run_s=ran.wall_s,
        cores=len(_cores()),
        peak_MB=ran.peak_MB,
        details=found,
    )


def _near_misses(true: HelicalSymmetry) -> list[HelicalSymmetry]:
    """Half a degree and 2% of the rise off."""
    return [replace(true, twist_deg=true.twist_deg + 0.5), replace(true, rise_A=1.02 * true.rise_A)]


def _with_subunits(true: HelicalSymmetry, more: int) -> HelicalSymmetry:
    """At the same pitch."""
    ratio = abs(360.0 / true.twist_deg) / (abs(360.0 / true.twist_deg) + more)
    return replace(true, twist_deg=ratio * true.twist_deg, rise_A=ratio * true.rise_A)


def _compare(data: Path, hypotheses: list[HelicalSymmetry]) -> Ran:
    words = ",".join(f"{s.twist_deg}/{s.rise_A}/{s.point_group}" for s in hypotheses)
    return _helixlab("compare", str(data / "particles.star"), f"--hypotheses={words}")


# --- programs -----------------------------------------------------------------------------------


def _peers() -> Path | None:
    data = os.environ.get("HELIXLAB_DATA")
    places = [] if data is None else [place / "peers" for place in Path(data).resolve().parents]
    return next((place for place in places if (place / "make_helix.py").is_file()), None)


def _make(filament: Filament, peers: Path, folder: Path) -> Path:
    symmetry = filament.symmetry
    shape = {"twist": symmetry.twist_deg, "rise": symmetry.rise_A, "csym": symmetry.cyclic_order}
    images = {"box": filament.box_px, "apix": filament.pixel_A, "n-particles": filament.n_segments}
    noise = {"snr": filament.snr, "psi-prior-sd": 2, "seed": filament.seed}
    options = [word for name, value in {**shape, **images, **noise}.items() for word in (f"--{name}", str(value))]
    _run_python(str(peers / "make_helix.py"), "--out", str(folder), *options)
    return folder


def _against_truth(map_path: str, data: Path, peers: Path) -> dict[str, Any]:
    """``compare_truth.py``'s numbers, after the turn, shift and polarity in which the map fits best."""
    return json.loads(_run_python(str(peers / "compare_truth.py"), map_path, str(data)).stdout.splitlines()[-1])


def _numbers(symmetry: HelicalSymmetry) -> dict[str, Any]:
    return {"twist_deg": symmetry.twist_deg, "rise_A": symmetry.rise_A, "point_group": symmetry.point_group}


def _refine(
    star: Path, out: Path, start: HelicalSymmetry, cache: Path | None = None, *, extra: tuple[str, ...] = ()
) -> Ran:
    words = ("--twist", str(start.twist_deg), "--rise", str(start.rise_A), "--point-group", start.point_group)
    return _helixlab("refine", str(star), "--out", str(out), *words, *extra, cache=cache)


def _helixlab(*words: str, cache: Path | None = None) -> Ran:
    """The command's answer as JSON; with nothing compiled before, unless in a folder that is named."""
    if cache is not None:
        return _run_python("-m", "helixlab.cli", *words, "--json", environment={"HELIXLAB_CACHE": str(cache)})
    with tempfile.TemporaryDirectory() as empty:
        return _helixlab(*words, cache=Path(empty))


def _run_python(*words: str, environment: dict[str, str] | None = None) -> Ran:
    environment = {"PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
    return run_command([sys.executable, *words], cores=_cores(), environment=environment)


def _cores() -> list[int]:
    return all_cores()[:2]
