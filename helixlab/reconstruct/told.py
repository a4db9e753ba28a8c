"""What a run tells of its states: the values of its events, for plots and tables."""

import datetime
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from helixlab.reconstruct.events import Curve, Histogram, IterationEvent, Mask, Polarity, RunStarted
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.reconstruct.references import align_shells
from helixlab.reconstruct.run_directory import installed_versions
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.state import RefinementState, search_range, symmetry_order
from helixlab.reconstruct.step import StepInfo

_ROT_BINS, _TILT_BINS, _SHIFT_BINS, _PSI_BINS = 36, 18, 24, 24


def run_started(particles: PreparedParticles, settings: RefinementSettings, first_iteration: int) -> RunStarted:
    """What a run tells when it begins or goes on."""
    return RunStarted(
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        settings=settings.model_dump(mode="json"),
        n_segments=len(particles),
        n_filaments=len(np.unique(particles.filament)) if particles.has_filaments else 0,
        half_set_sizes=(len(particles.rows_of(1)), len(particles.rows_of(2))),
        n_optics_groups=len(np.unique(particles.optics_group)),
        box_px=particles.box_px,
        pixel_size_A=particles.pixel_size_A,
        symmetry_order=symmetry_order(particles, settings, settings.symmetry),
        device=str(jax.devices()[0].device_kind),
        versions=installed_versions(),
        first_iteration=first_iteration,
    )


def iteration_event(
    particles: PreparedParticles, state: RefinementState, info: StepInfo, settings: RefinementSettings
) -> IterationEvent:
    """What an iteration tells."""
    if state.poses is None:
        raise ValueError("state: the event of an iteration needs poses.")
    best, agreement = state.poses.best, info.agreement
    curves = {c.label: c for c in (agreement.curve, agreement.masked, agreement.smooth, agreement.uneven)}
    grid_shell = align_shells(particles, info.align_shell)[0]
    ranges = search_range(particles, settings, state.symmetry, state.mask.outer_radius_A)
    warnings = [state.start_warning]
    if state.estimate is not None:
        warnings += [state.estimate.warning, state.estimate.doubt]
    return IterationEvent(
        iteration=state.iteration,
        stage=f"aligned to {particles.resolution_A(info.align_shell):.1f} Å",
        resolution_A=state.resolution_A,
        **_symmetry_values(state),
        symmetry_order=symmetry_order(particles, settings, settings.symmetry),
        is_symmetry_searched=info.is_searched,
        is_realspace_symmetrized=info.is_real_space,
        is_nonuniform=info.is_nonuniform,
        is_shift_limited=settings.limit_shifts and state.symmetry is not None,
        low_resolution_join_A=info.join_A,
        angular_step_deg=ranges.orientations(particles.resolution_A(grid_shell)).steps_deg[0],
        log_posterior=float(info.log_posterior.mean()),
        max_probability=float(best.weight.mean()),
        polarity=_polarity(particles, best),
        fsc=tuple(_curve(label, c.freq_per_A, c.fsc) for label, c in curves.items()),
        noise=_noise_curves(particles, state.noise_power),
        orientations=_orientations(state.poses),
        shifts=_shifts(state.poses, particles.pixel_size_A),
        psi_offsets=_psi_offsets(state.poses),
        mask=_mask(state, settings),
        seconds=info.seconds,
        warnings=tuple(filter(None, warnings)),
    )


def final_values(state: RefinementState) -> dict[str, Any]:
    """What a run has found so far; what is not known is None."""
    return {"resolution_A": _known(state.resolution_A), **_symmetry_values(state)}


# --- private helpers ----------------------------------------------------------------------------


def _symmetry_values(state: RefinementState) -> dict[str, Any]:
    if state.estimate is None:
        return {}
    symmetry = state.estimate.symmetry
    return {
        "twist_deg": symmetry.twist_deg,
        "rise_A": symmetry.rise_A,
        "twist_se_deg": _known(state.estimate.twist_se_deg),
        "rise_se_A": _known(state.estimate.rise_se_A),
    }


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _polarity(particles: PreparedParticles, best: Poses) -> Polarity:
    flipped = best.is_flipped.astype(float)
    filament = particles.filament[best.image]
    share = np.bincount(filament, flipped) / np.maximum(np.bincount(filament), 1)
    return Polarity(
        flipped_fraction=float(flipped.mean()),
        agreeing_fraction=float(np.mean((share[filament] > 0.5) == best.is_flipped)),
        uncertain_fraction=float(np.mean(best.weight < 0.95)),
    )


def _noise_curves(particles: PreparedParticles, noise: Float[np.ndarray, "g s"]) -> tuple[Curve, ...]:
    freq = np.arange(noise.shape[1]) / particles.box_A
    return tuple(_curve(str(group + 1), freq, power) for group, power in enumerate(noise))


def _curve(label: str, freq_per_A: Float[np.ndarray, "s"], values: Float[np.ndarray, "s"]) -> Curve:
    return Curve(label=label, freq_per_A=tuple(freq_per_A.tolist()), values=tuple(values.tolist()))


def _histogram(
    counts: Float[np.ndarray, "y x"],
    x_label: str,
    x_edges: Float[np.ndarray, "a"],
    y_label: str = "",
    y_edges: Float[np.ndarray, "b"] | None = None,
) -> Histogram:
    return Histogram(
        x_label=x_label,
        x_edges=tuple(x_edges.tolist()),
        counts=tuple(map(tuple, counts.tolist())),
        y_label=y_label,
        y_edges=() if y_edges is None else tuple(y_edges.tolist()),
    )


def _orientations(poses: Poses) -> Histogram:
    edges = np.linspace(0, 360, _ROT_BINS + 1), np.linspace(60, 120, _TILT_BINS + 1)
    rot, tilt = poses.angles_deg[:, 0] % 360.0, np.clip(poses.angles_deg[:, 1], 60, 120)
    counts = np.histogram2d(tilt, rot, bins=[edges[1], edges[0]], weights=poses.weight)[0]
    return _histogram(counts, "rot_deg", edges[0], "tilt_deg", edges[1])


def _shifts(poses: Poses, pixel_size_A: float) -> Histogram:
    along, across = (poses.shift_px * pixel_size_A).T
    counts, y, x = np.histogram2d(across, along, bins=_SHIFT_BINS, weights=poses.weight)
    return _histogram(counts, "along_A", x, "across_A", y)


def _psi_offsets(poses: Poses) -> Histogram:
    counts, edges = np.histogram(poses.angles_deg[:, 2], bins=_PSI_BINS, weights=poses.weight)
    return _histogram(counts[None], "psi_deg", edges)


def _mask(state: RefinementState, settings: RefinementSettings) -> Mask:
    heights = np.flatnonzero(state.mask.mask.max(axis=(1, 2)) > 0.5)
    pixel_A = state.half_maps[0].pixel_size_A
    return Mask(
        threshold=settings.mask_threshold if settings.mask == "dynamic" else None,
        volume_fraction=float(state.mask.mask.mean()),
        inner_radius_A=0.0,
        outer_radius_A=state.mask.outer_radius_A,
        height_A=float(np.ptp(heights) + 1) * pixel_A if len(heights) else 0.0,
    )
