"""The loop: iterations one after the other, each told as an event, until the rules or the user end it.

The command line, notebooks and tests all run :func:`refine` and read its events. What an iteration does is in
:mod:`helixlab.reconstruct.step`.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.io import BadImagesError, ParticleStack, read_particles
from helixlab.reconstruct.bad_particles import bad_particles_error, named_particles, usable_particles
from helixlab.reconstruct.begin import check_given, init
from helixlab.reconstruct.check import set_up_doubts, used_set_up
from helixlab.reconstruct.checkpoint import state_from_arrays, state_to_arrays
from helixlab.reconstruct.control import Control, StopRequested
from helixlab.reconstruct.events import Event, IterationEvent, Message, RunEnded, SettingsEdited
from helixlab.reconstruct.findings import SetUp
from helixlab.reconstruct.held_out import with_held_out
from helixlab.reconstruct.masking import FilamentMask
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles, prepare_particles
from helixlab.reconstruct.results import write_results
from helixlab.reconstruct.rivals import with_rival
from helixlab.reconstruct.run_directory import RunDirectory, read_as_before
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.state import RefinementState, with_edits
from helixlab.reconstruct.step import step, terminate
from helixlab.reconstruct.told import final_values, iteration_event, run_started
from helixlab.validate import FSCCurve, FSCResult

_ADVICE = {
    "converged": "",
    "stopped": "The run was stopped before it converged; the maps are those of its last iteration. Let it go on with "
    "--resume (in Python resume=True).",
    "max_iterations": "The run ended before it converged: allow more iterations, or check the symmetry, the in-plane "
    "angles and the initial low-pass.",
}

_NOTHING_YET = (
    "The run was stopped before its first iteration ended: there are no maps. Let it go on with --resume (in Python "
    "resume=True), or remove its folder."
)

_BATCH_BYTES = "batch_bytes"
"""Saved beside the state: other batches would sum the same numbers in another order."""


def refine(
    particles: ParticleStack | str | os.PathLike[str],
    settings: RefinementSettings,
    out_dir: str | os.PathLike[str] | None = None,
    control: Control | None = None,
    *,
    volume: Volume | None = None,
    mask: Volume | None = None,
    resume: bool = False,
) -> Iterator[Event]:
    """Refine filament segments to two half maps and a symmetry.

    Parameters
    ----------
    particles : ParticleStack or path
        Segments with in-plane angles, CTF and filaments.
    settings : RefinementSettings
        To resume, those to go on with: :func:`latest_settings` of the folder, edited if you like.
    out_dir : path, optional
        The run's folder; made, or empty. Without it only the events are left.
    control : Control, optional
        Pauses, stops and edits the run from another thread.
    volume : Volume, optional
        An initial model. By default it is made from the images.
    mask : Volume, optional
        The static mask.
    resume : bool
        Go on after the last complete iteration of the folder, to the end that the run would have had: on the same
        devices, with no less memory free, to the last bit. Particles must be the same; a path is read as it was, with
        the passthrough files and the folder of images of then. Maps that the run was given are in its folder.

    Yields
    ------
    Event
        RunStarted, Messages of particles left out and of what :mod:`helixlab.reconstruct.check` doubts, one
        IterationEvent for each iteration, RunEnded; SettingsEdited before the iteration for which settings changed.

    Raises
    ------
    HelixLabError
        If the particles, settings or maps do not fit together: before the first event, and a folder that it made is
        gone again. What fails later is an event of the log, RunEnded ("failed"), before it is raised; the run can go on
        from its last iteration.

    Notes
    -----
    A stop is heard before each batch of images; the iteration that it ends is done again by a run that goes on.
    GPUs add in an order of their own: two runs there are alike to the last bit only where XLA is asked for it
    (``XLA_FLAGS=--xla_gpu_deterministic_ops=true``), resumed or not.
    """
    start = time.perf_counter()
    control = control or Control(settings)
    run = _begin(particles, settings, out_dir, {"initial_model": volume, "mask": mask}, is_resumed=resume)
    run.prepared = replace(run.prepared, before_batch=control.check_stop)
    try:
        for event in run.opening:
            yield run.said(event)
        # A run that had its last iteration and was killed before its results ends here once more.
        reason = run.reason_to_end()
        while reason is None:
            try:
                edited = control.between_iterations(run.settings)
                if changes := edited.changes_from(run.settings):
                    yield run.said(SettingsEdited(iteration=run.n_done + 1, changes=changes))
                    run.edit(edited, changes)
                yield run.iterate()
            except StopRequested:
                reason = "stopped"
                break
            reason = run.reason_to_end()
        yield run.said(run.end(reason, time.perf_counter() - start))
    except Exception as error:
        advice = str(error) or type(error).__name__
        iterations, seconds = run.n_done, time.perf_counter() - start
        with contextlib.suppress(OSError):  # a full disk is what failed, and takes no event either
            run.said(RunEnded(reason="failed", advice=advice, iterations=iterations, seconds=seconds))
        raise
    finally:
        if run.folder is not None:
            run.folder.close()


@dataclass(eq=False)
class _Run:
    """A run that has begun: what it was given, and what changes from iteration to iteration."""

    folder: RunDirectory | None
    set_up: SetUp
    """The particles that are used, with the settings of the beginning."""
    prepared: PreparedParticles
    settings: RefinementSettings
    volume: Volume | None
    mask: FilamentMask | None
    state: RefinementState | None
    """None before the first iteration."""
    last: IterationEvent | None
    opening: tuple[Event, ...]
    left_out: tuple[str, ...]
    """What is said of particles that are not used."""

    @property
    def n_done(self) -> int:
        return 0 if self.state is None else self.state.iteration

    def reason_to_end(self) -> Literal["converged", "max_iterations"] | None:
        return None if self.state is None else terminate(self.prepared, self.state, self.settings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubted of the particles, with the settings as they are now, and of the last iteration."""
        doubts = tuple(map(str, set_up_doubts(replace(self.set_up, settings=self.settings))))
        return (*self.left_out, *doubts, *(() if self.last is None else self.last.warnings))

    def said(self, event: Event) -> Event:
        if self.folder is not None:
            self.folder.append(event)
        return event

    def edit(self, settings: RefinementSettings, changes: Mapping[str, Any]) -> None:
        self.settings = settings
        if self.state is not None:
            self.state = with_edits(self.state, settings, changes)

    def iterate(self) -> IterationEvent:
        start = time.perf_counter()
        before = self.state or init(self.prepared, self.settings, volume=self.volume, mask=self.mask)
        start_s = time.perf_counter() - start
        state, info = step(self.prepared, before, self.settings)
        if self.state is None:
            info = replace(info, seconds={"start": round(start_s, 3), **info.seconds})
        event = iteration_event(self.prepared, state, info, self.settings)
        if terminate(self.prepared, state, self.settings) is not None:
            start = time.perf_counter()
            event = with_held_out(event, self.prepared, state, self.settings)
            event = with_rival(event, self.prepared, state, self.settings)
            validation_s = round(time.perf_counter() - start, 3)
            event = event.model_copy(update={"seconds": {**event.seconds, "validation": validation_s}})
        if self.folder is not None:
            arrays = state_to_arrays(state)
            batch_bytes = np.asarray(self.prepared.batch_bytes)
            event = self.folder.write_iteration(
                event, {**arrays, _BATCH_BYTES: batch_bytes}, _volumes(state), self.settings
            )
            # To the last bit, and in its order in memory, what a run that resumes would read.
            state = state_from_arrays(arrays)
        self.state, self.last = state, event
        return event

    def end(self, reason: Literal["converged", "stopped", "max_iterations"], seconds: float) -> RunEnded:
        files, state = {}, self.state
        if self.folder is not None and self.last is not None and state is not None and state.poses is not None:
            curves = tuple(FSCCurve(np.array(c.freq_per_A), np.array(c.values), c.label) for c in self.last.fsc)
            files = write_results(
                self.folder.path,
                _volumes(state),
                refined_table(self.set_up.stack, self.prepared, state.poses),
                {**_summary(state, reason), "warnings": self.warnings},
                FSCResult(curves),
                curves[0].label,
            )
        return RunEnded(
            reason=reason,
            advice=_ADVICE[reason] if self.last is not None else _NOTHING_YET,
            iterations=self.n_done,
            seconds=seconds,
            files=files,
            warnings=self.warnings,
            **({} if state is None else final_values(state)),
        )


def _begin(
    particles: ParticleStack | str | os.PathLike[str],
    settings: RefinementSettings,
    out_dir: str | os.PathLike[str] | None,
    maps: Mapping[str, Volume | None],
    *,
    is_resumed: bool,
) -> _Run:
    """All that can be refused is refused here."""
    if maps["mask"] is not None and settings.mask != "static":
        raise HelixLabError(f"mask: found one with mask={settings.mask}; set mask=static, or leave it out.")
    if is_resumed and out_dir is None:
        raise HelixLabError("out_dir: missing; to resume, give the folder of the run.")
    if isinstance(particles, ParticleStack):
        stack = particles
    elif is_resumed and out_dir is not None:
        stack = read_as_before(particles, out_dir)
    else:
        stack = read_particles(particles)
    given = {name: volume for name, volume in maps.items() if volume is not None}
    folder = None
    if out_dir is not None:
        opened = RunDirectory.resume if is_resumed else partial(RunDirectory.create, settings=settings)
        folder = opened(out_dir, particles=stack, maps=given)
    try:
        return _prepared(stack, settings, folder, given)
    except BaseException:
        if folder is not None:
            folder.close() if is_resumed else folder.discard()
        raise


def _prepared(
    stack: ParticleStack, settings: RefinementSettings, folder: RunDirectory | None, maps: Mapping[str, Volume]
) -> _Run:
    saved = None if folder is None else folder.latest()
    before = saved.settings if saved is not None else settings if folder is None else folder.settings
    changes = settings.changes_from(before)
    before.check_editable(changes)
    usable, bad = usable_particles(stack, settings)
    try:
        prepared = prepare_particles(usable, settings, scratch_dir=None if folder is None else folder.path)
    except BadImagesError:
        raise bad_particles_error(stack) from None
    if settings.rise_A is not None and settings.rise_A > prepared.box_A:
        raise HelixLabError(
            f"rise_A: found {settings.rise_A:g} Å in a box of {prepared.box_A:.0f} Å, which must hold one rise. "
            "Cut larger segments, or refine without symmetry."
        )
    # A run that resumes before its first iteration reads the folder's copies, and so does this one.
    names = {"volume": "initial_model", "mask": "mask"}
    given = {key: maps.get(name) if folder is None else folder.given(name) for key, name in names.items()}
    mask = check_given(prepared, settings, **given)
    state, opening = None, list[Event]()
    if saved is not None:
        arrays = saved.arrays()
        state = with_edits(state_from_arrays(arrays), settings, changes)
        # Where less memory is free than before, smaller batches are better than none.
        prepared = replace(prepared, batch_bytes=min(prepared.batch_bytes, int(arrays[_BATCH_BYTES])))
    n_done = 0 if state is None else state.iteration
    opening.append(run_started(prepared, settings, n_done + 1))
    left_out = (f"left out {named_particles(bad)}. The other {len(usable)} particles are used.",) if bad else ()
    opening += [Message(level="warning", text=text) for text in left_out]
    set_up = used_set_up(stack, bad, settings, prepared.box_px)
    opening += [Message(level=doubt.severity, text=str(doubt)) for doubt in set_up_doubts(set_up)]
    if changes:
        opening.append(SettingsEdited(iteration=n_done + 1, changes=changes))
    last = None if saved is None else saved.event
    return _Run(folder, set_up, prepared, settings, given["volume"], mask, state, last, tuple(opening), left_out)


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


# --- private helpers ----------------------------------------------------------------------------


def _summary(state: RefinementState, reason: str) -> dict[str, object]:
    return {
        **final_values(state),
        "iterations": state.iteration,
        "converged": reason == "converged",
        "advice": _ADVICE[reason],
    }


def _volumes(state: RefinementState) -> dict[str, Volume]:
    one, two = state.half_maps
    mask = one.with_data(state.mask.mask)
    return {"map": one.with_data((one.data + two.data) / 2), "half1": one, "half2": two, "mask": mask}
