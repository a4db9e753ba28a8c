"""The loop: iterations one after the other, each told as an event, until the rules or the user end it.

The command line, notebooks and tests all run :func:`refine` and read its events. What an iteration does is in
:mod:`helixlab.reconstruct.step`.
"""

import datetime
import os
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.io import ParticleStack, read_particles
from helixlab.reconstruct.control import Control, StopRequested
from helixlab.reconstruct.events import Curve, Event, Histogram, IterationEvent, Mask, Polarity, RunEnded, RunStarted
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles, prepare_particles
from helixlab.reconstruct.results import write_results
from helixlab.reconstruct.run_directory import RunDirectory, installed_versions
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.step import RefinementState, StepInfo, init, search_range, step, symmetry_order, terminate
from helixlab.validate import FSCResult

_ADVICE = {
    "converged": "",
    "stopped": "The run was stopped before it converged; the maps are those of its last iteration.",
    "max_iterations": "The run ended before it converged: allow more iterations, or check the symmetry, the in-plane "
    "angles and the initial low-pass.",
}

_ROT_BINS, _TILT_BINS, _SHIFT_BINS, _PSI_BINS = 36, 18, 24, 24


_NOT_YET = ("use_nonuniform", "drop_bad_images")
"""Settings that are refused rather than passed over."""


def refine(
    particles: ParticleStack | str | os.PathLike[str],
    settings: RefinementSettings,
    out_dir: str | os.PathLike[str] | None = None,
    control: Control | None = None,
    *,
    volume: Volume | None = None,
    mask: Volume | None = None,
) -> Iterator[Event]:
    """Refine filament segments to two half maps and a symmetry.

    Parameters
    ----------
    particles : ParticleStack or path
        Segments with in-plane angles, CTF and filaments.
    settings : RefinementSettings
    out_dir : path, optional
        The run's folder; made, or empty. Without it only the events are left.
    control : Control, optional
        Pauses, stops and edits the run from another thread.
    volume : Volume, optional
        An initial model. By default it is made from the images.
    mask : Volume, optional
        The static mask.

    Yields
    ------
    Event
        RunStarted, one IterationEvent for each iteration, RunEnded.

    Raises
    ------
    HelixLabError
        If the particles, settings or maps do not fit together, or a setting asks for what this loop cannot do yet;
        before the first event.
    """
    for name in _NOT_YET:
        if getattr(settings, name):
            raise HelixLabError(f"{name}: found it switched on; the refinement cannot do that yet. Switch it off.")
    start = time.perf_counter()
    stack = particles if isinstance(particles, ParticleStack) else read_particles(particles)
    control = control or Control(settings)
    folder = None if out_dir is None else RunDirectory.create(out_dir, settings, stack)
    try:
        prepared = prepare_particles(stack, settings)
        state = init(prepared, settings, volume=volume, mask=mask)
        yield _said(folder, _started(prepared, settings))
        agreement, reason = None, None
        while reason is None:
            try:
                settings = control.between_iterations(settings)
            except StopRequested:
                reason = "stopped"
                break
            state, info = step(prepared, state, settings)
            agreement = info.agreement
            event = iteration_event(prepared, state, info, settings)
            if folder is not None:
                event = folder.write_iteration(event, {}, _volumes(state), settings)
            yield event
            reason = terminate(prepared, state, settings)
        files = {}
        if folder is not None and agreement is not None and state.poses is not None:
            curves = FSCResult((agreement.curve, agreement.smooth, agreement.uneven))
            refined = refined_table(stack, prepared, state.poses)
            files = write_results(
                folder.path, _volumes(state), refined, _summary(state, reason), curves, agreement.curve.label
            )
        seconds = time.perf_counter() - start
        yield _said(
            folder,
            RunEnded(
                reason=reason,
                advice=_ADVICE[reason],
                iterations=state.iteration,
                seconds=seconds,
                files=files,
                **_final_values(state),
            ),
        )
    finally:
        if folder is not None:
            folder.close()


def refined_table(stack: ParticleStack, particles: PreparedParticles, poses: Poses) -> ParticleStack:
    """The table of particles with their best poses and half-sets."""
    best = poses.best
    angles, shifts = best.in_images(particles.psi_prior_deg)
    shifts_A = shifts * particles.pixel_size_A
    return stack.replace(
        rot_deg=angles[:, 0],
        tilt_deg=angles[:, 1],
        psi_deg=angles[:, 2],
        shift_x_A=shifts_A[:, 0],
        shift_y_A=shifts_A[:, 1],
        half_set=particles.half_set,
    )


def iteration_event(
    particles: PreparedParticles, state: RefinementState, info: StepInfo, settings: RefinementSettings
) -> IterationEvent:
    """What an iteration tells."""
    if state.poses is None:
        raise ValueError("state: the event of an iteration needs poses.")
    best, agreement = state.poses.best, info.agreement
    curves = {c.label: c for c in (agreement.curve, agreement.masked, agreement.smooth, agreement.uneven)}
    ranges = search_range(particles, state, settings)
    warning = "" if state.estimate is None else state.estimate.warning
    return IterationEvent(
        iteration=state.iteration,
        stage=f"aligned to {particles.resolution_A(info.align_shell):.1f} Å",
        resolution_A=state.resolution_A,
        **_symmetry_values(state),
        symmetry_order=symmetry_order(particles, settings),
        is_symmetry_searched=info.is_searched,
        is_realspace_symmetrized=info.is_real_space,
        is_shift_limited=settings.limit_shifts and state.symmetry is not None,
        low_resolution_join_A=info.join_A,
        angular_step_deg=ranges.orientations(particles.resolution_A(info.align_shell)).steps_deg[0],
        log_likelihood=float(info.log_posterior.mean()),
        max_probability=float(best.weight.mean()),
        polarity=_polarity(particles, best),
        fsc=tuple(_curve(label, c.freq_per_A, c.fsc) for label, c in curves.items()),
        noise=_noise_curves(particles, state.noise_power),
        orientations=_orientations(state.poses),
        shifts=_shifts(state.poses, particles.pixel_size_A),
        psi_offsets=_psi_offsets(state.poses),
        mask=_mask(state, settings),
        seconds=info.seconds,
        warnings=(warning,) if warning else (),
    )


# --- what events say ----------------------------------------------------------------------------


def _said(folder: RunDirectory | None, event: Event) -> Event:
    if folder is not None:
        folder.append(event)
    return event


def _started(particles: PreparedParticles, settings: RefinementSettings) -> RunStarted:
    return RunStarted(
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        settings=settings.model_dump(mode="json"),
        n_segments=len(particles),
        n_filaments=len(np.unique(particles.filament)),
        half_set_sizes=(len(particles.rows_of(1)), len(particles.rows_of(2))),
        n_optics_groups=len(np.unique(particles.optics_group)),
        box_px=particles.box_px,
        pixel_size_A=particles.pixel_size_A,
        symmetry_order=symmetry_order(particles, settings),
        device=str(jax.devices()[0].device_kind),
        versions=installed_versions(),
    )


def _final_values(state: RefinementState) -> dict[str, Any]:
    return {"resolution_A": _known(state.resolution_A), **_symmetry_values(state)}


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


def _summary(state: RefinementState, reason: str) -> dict[str, object]:
    return {
        **_final_values(state),
        "iterations": state.iteration,
        "converged": reason == "converged",
        "advice": _ADVICE[reason],
    }


def _volumes(state: RefinementState) -> dict[str, Volume]:
    one, two = state.half_maps
    mask = one.with_data(state.mask.mask)
    return {"map": one.with_data((one.data + two.data) / 2), "half1": one, "half2": two, "mask": mask}


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
