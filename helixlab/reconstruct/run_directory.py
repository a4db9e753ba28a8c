"""The folder of a run: what it was given, what it said, and every iteration whole or not at all.

    settings.json  inputs.json  inputs/initial_model.mrc ...  events.jsonl
    iterations/001/  state.npz  map.mrc  half1.mrc  half2.mrc  ...  event.json  settings.json  manifest.json

with the results beside them (:mod:`helixlab.reconstruct.results`).

An iteration is written under another name, forced to the disk and renamed: after a kill at any moment the folder
holds complete iterations and, at most, rubbish under names that start with a dot, which the next run clears away.

On the disk an iteration takes its maps (four volumes: map, half maps, mask) and, while it is one of the latest two, its
state (five volumes more, and the poses): a run of 20 iterations with a box of 256 leaves about 6 GB. All maps stay,
for the events name them; folders of iterations that nobody will look at may be removed by hand, but the latest two.
"""

import contextlib
import hashlib
import json
import os
import platform
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import numpy as np

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.geometry import Volume
from helixlab.io import ParticleStack, read_particles, read_volume, write_volume
from helixlab.io.image_stacks import locate_image_file
from helixlab.reconstruct.events import OTHER_VERSION, Event, IterationEvent, event_from_line, event_to_line
from helixlab.reconstruct.fingerprints import check_unchanged, digest_of_table, take_fingerprint
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.record import json_text, write_bytes, write_json

_LOCK = ".lock"
_KEPT_STATES = 2
"""Iterations from which a run can go on: the latest, and one for when its files are damaged."""

_RESUME = " with --resume (in Python resume=True)"

_STATE = "state.npz"
_FILES = ("settings.json", "inputs.json", "events.jsonl")
_PACKAGES = ("helixlab", "jax", "jaxlib", "numpy")


@dataclass(frozen=True)
class SavedIteration:
    """A complete iteration on disk.

    Parameters
    ----------
    number : int
        From 1.
    folder : Path
    event : IterationEvent
    settings : RefinementSettings
        Those in force when it ended.
    """

    number: int
    folder: Path
    event: IterationEvent
    settings: RefinementSettings

    def arrays(self) -> dict[str, np.ndarray]:
        """The state, bit for bit as it was given."""
        with np.load(self.folder / _STATE, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def volume(self, name: str) -> Volume:
        """A map that was saved with it, e.g. "map"."""
        return read_volume(self.folder / f"{name}.mrc")


class RunDirectory:
    """A run's folder, open for the one process that runs it; use it as a context manager.

    Made by :meth:`create` for a new run and :meth:`resume` for one to go on.

    Attributes
    ----------
    path : Path
    settings : RefinementSettings
        Those the run began with; :meth:`latest` has those it ended an iteration with.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with RunDirectory.create(f"{folder.name}/run", RefinementSettings()) as run:
    ...     _ = run.write_iteration(IterationEvent(iteration=1, resolution_A=9.5), {"rot_deg": np.zeros(3)}, {})
    >>> with RunDirectory.resume(f"{folder.name}/run") as run:
    ...     run.latest().number, [event.kind for event in run.events()]
    (1, ['iteration'])
    >>> folder.cleanup()
    """

    def __init__(
        self, path: Path, settings: RefinementSettings, lock: filelock.BaseFileLock, made: Sequence[Path] = ()
    ) -> None:
        self.path = path
        self.settings = settings
        self._lock = lock
        self._made = made

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        settings: RefinementSettings,
        particles: ParticleStack | None = None,
        maps: Mapping[str, Volume] | None = None,
    ) -> "RunDirectory":
        """A new run's folder, with its settings and the fingerprints of what it was given.

        Parameters
        ----------
        path : path
            Made with its parents; if it exists it must be empty.
        settings : RefinementSettings
        particles : ParticleStack, optional
            Its values, table and image files are recorded.
        maps : mapping, optional
            What else the run was given, by name: "initial_model", "mask". The folder gets copies.

        Raises
        ------
        HelixLabError
            If the folder is not empty, cannot be made, or belongs to a run that is running.
        """
        folder = Path(path)
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HelixLabError(f"{folder}: cannot be made ({error.strerror}); choose another folder.") from error
        run = cls(folder, settings, _lock(folder), made)
        if not _is_free(folder):
            run.close()
            raise HelixLabError(
                f"{folder}: the folder is not empty; choose another one, or let the run in it go on{_RESUME}."
            )
        try:
            (folder / "iterations").mkdir(exist_ok=True)
            (folder / "inputs").mkdir(exist_ok=True)
            for name, volume in (maps or {}).items():
                write_volume(folder / "inputs" / f"{name}.mrc", volume, overwrite=True)
            write_json(folder / "inputs.json", _described_inputs(particles), overwrite=True)
            (folder / "events.jsonl").touch()
            # The last of the three: a folder that has settings has everything.
            write_json(folder / "settings.json", settings.model_dump(mode="json"))
        except BaseException:
            run.discard()
            raise
        return run

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        particles: ParticleStack | None = None,
        maps: Mapping[str, Volume] | None = None,
    ) -> "RunDirectory":
        """The folder of a run that was stopped or killed, cleared of what was not finished.

        What the run said after its last complete iteration is forgotten: it will say it again.

        Parameters
        ----------
        path : path
        particles : ParticleStack, optional
        maps : mapping, optional
            Given once more; they must be what they were when the run began.

        Raises
        ------
        HelixLabError
            If there is no run in it, it is running, or something it was given has changed.
        """
        folder = Path(path)
        _check_is_run(folder)
        lock = _lock(folder)
        try:
            recorded = _saved_object(folder / "inputs.json")
            check_unchanged(recorded["files"].values())
            if particles is not None and digest_of_table(particles) != recorded["table_sha256"]:
                raise HelixLabError(
                    f"particles: these are not the ones that the run in {folder} began with; give those, or begin a "
                    "new run."
                )
            run = cls(folder, _saved_settings(folder), lock)
            run._check_given(maps or {})
            run._clear_unfinished()
        except BaseException:
            lock.release()
            raise
        return run

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another process run here."""
        self._lock.release()

    def discard(self) -> None:
        """Take back a run that could not begin: the folder is empty again, or gone if the run made it."""
        for name in ("iterations", "inputs"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (*_FILES, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        self.close()
        with contextlib.suppress(OSError):  # somebody else has put something there
            for folder in self._made:
                folder.rmdir()

    def given(self, name: str) -> Volume | None:
        """A map that the run was given, from the folder's copy."""
        path = self.path / "inputs" / f"{name}.mrc"
        return read_volume(path) if path.exists() else None

    def append(self, event: Event) -> None:
        """Add an event to the log, on the disk when this returns. Iterations go through :meth:`write_iteration`."""
        with (self.path / "events.jsonl").open("ab") as log:
            log.write(event_to_line(event).encode())
            log.flush()
            os.fsync(log.fileno())

    def events(self) -> list[Event]:
        """What the run has said so far."""
        return read_events(self.path)

    def write_iteration(
        self,
        event: IterationEvent,
        arrays: Mapping[str, np.ndarray],
        volumes: Mapping[str, Volume],
        settings: RefinementSettings | None = None,
    ) -> IterationEvent:
        """Save an iteration, whole or not at all, and add its event to the log.

        Parameters
        ----------
        event : IterationEvent
        arrays : mapping
            All that the run needs to go on from here; they come back bit for bit.
        volumes : mapping
            Maps to look at, by name.
        settings : RefinementSettings, optional
            Those in force; by default those the run began with.

        Returns
        -------
        IterationEvent
            With the saved files, as it stands in the log.
        """
        objects = [name for name, values in arrays.items() if values.dtype.hasobject]
        if objects:
            raise HelixLabError(
                f"arrays: found Python objects in {', '.join(objects)}; give arrays of numbers or text."
            )
        folder = self._iteration_folder(event.iteration)
        names = {name: f"{name}.mrc" for name in volumes}
        event = event.model_copy(
            update={"files": {name: f"{folder.relative_to(self.path)}/{file}" for name, file in names.items()}}
        )
        unfinished = folder.with_name(f".{secrets.token_hex(6)}")
        try:
            unfinished.mkdir()
            np.savez(unfinished / _STATE, **arrays)  # type: ignore[arg-type]
            for name, volume in volumes.items():
                write_volume(unfinished / names[name], volume)
            (unfinished / "event.json").write_text(event_to_line(event), "utf-8")
            values = (settings or self.settings).model_dump(mode="json")
            (unfinished / "settings.json").write_text(json_text(values), "utf-8")
            (unfinished / "manifest.json").write_text(json_text(_digests(unfinished)), "utf-8")
            for file in unfinished.iterdir():
                _force_path(file)
            _force_path(unfinished)
            _remove(folder)
            unfinished.rename(folder)
            _force_path(folder.parent)
        except OSError as error:
            raise HelixLabError(
                f"{folder}: cannot be written: {error.strerror or error}. Check the disk, then let the run go "
                f"on{_RESUME}."
            ) from error
        self.append(event)
        (self._iteration_folder(event.iteration - _KEPT_STATES) / _STATE).unlink(missing_ok=True)
        return event

    def latest(self) -> SavedIteration | None:
        """The last complete iteration, or None; damaged ones are passed over."""
        return _latest_iteration(self.path)

    def _check_given(self, maps: Mapping[str, Volume]) -> None:
        for name, volume in maps.items():
            before = self.given(name)
            if before is None or not np.array_equal(before.data, volume.data):
                raise HelixLabError(
                    f"{name}: found {'another' if before else 'one'}, and the run in {self.path} began with "
                    f"{'its own' if before else 'none'}; leave it out, or begin a new run."
                )

    def _iteration_folder(self, number: int) -> Path:
        return self.path / "iterations" / f"{number:03d}"

    def _clear_unfinished(self) -> None:
        latest = self.latest()
        last = latest.number if latest else 0
        for folder in (self.path / "iterations").iterdir():
            if not folder.name.isdigit() or int(folder.name) > last:
                _remove(folder)
        kept = _events_through(self.events(), latest)
        write_bytes(self.path / "events.jsonl", "".join(map(event_to_line, kept)).encode(), overwrite=True)


def read_events(path: str | os.PathLike[str]) -> list[Event]:
    """What the run of a folder has said so far, also while it runs; a line that is being written is left out.

    Raises
    ------
    FileFormatError
        If there is no log, or a line of it is damaged or of another version.
    """
    log = Path(path) / "events.jsonl"
    try:
        lines = log.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise FileFormatError(f"{path}: found no events.jsonl ({error.strerror}); give the folder of a run.") from error
    return [event_from_line(line, f"{log}, line {n}") for n, line in enumerate(lines, 1) if line.endswith(b"\n")]


def latest_settings(path: str | os.PathLike[str]) -> RefinementSettings:
    """The settings with which the run of a folder would go on.

    Raises
    ------
    HelixLabError
        If there is no run in it.
    """
    saved = _latest_iteration(Path(path))
    if saved is not None:
        return saved.settings
    if not (Path(path) / "settings.json").is_file():
        raise HelixLabError(f"{path}: found no run (settings.json is missing); give the folder of one, or begin it.")
    return _saved_settings(Path(path))


def read_as_before(
    particles: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    images_root: str | os.PathLike[str] | None = None,
    passthrough: Sequence[str | os.PathLike[str]] = (),
) -> ParticleStack:
    """Read a run's particles once more, with the further files and the folder of images that it began with.

    Parameters
    ----------
    particles : path
    run : path
        The run's folder.
    images_root, passthrough : optional
        As in :func:`helixlab.io.read_particles`, in place of what the run began with.

    Raises
    ------
    HelixLabError
        If there is no run in the folder, or the particles cannot be read.
    """
    folder = Path(run)
    _check_is_run(folder)
    # Runs of earlier versions say nothing of it.
    before = _saved_object(folder / "inputs.json").get("reading", {})
    given = {"images_root": images_root, "passthrough": passthrough}
    return read_particles(particles, **before | {name: value for name, value in given.items() if value})


def installed_versions() -> dict[str, str]:
    """Versions of HelixLab, of what computes for it, and of Python."""
    return {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()}


# --- private helpers --------------------------------------------------------------------------------


def _check_is_run(folder: Path) -> None:
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise HelixLabError(f"{folder}: found no run ({missing[0]} is missing); give the folder of one, or begin it.")


def _lock(folder: Path) -> filelock.BaseFileLock:
    """The kernel frees the lock when its process dies, however it dies."""
    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise HelixLabError(f"{folder}: another process is running here; stop it, or choose another folder.") from None
    return lock


def _is_free(folder: Path) -> bool:
    """Whether there is nothing in it, or nothing but what a run has left that was killed before it had begun."""
    left = {entry.name for entry in folder.iterdir()} - {_LOCK}
    return left <= {"iterations", "inputs", "inputs.json", "events.jsonl"} and not any(folder.glob("iterations/*"))


def _described_inputs(particles: ParticleStack | None) -> dict[str, Any]:
    files, reading = {}, {}
    if particles is not None:
        source = particles.source
        if source.path is not None:
            files["particles"] = take_fingerprint(source.path)
        for number, other in enumerate(source.passthrough):
            files[f"passthrough_{number}"] = take_fingerprint(other)
        reading["passthrough"] = [str(other.absolute()) for other in source.passthrough]
        reading["images_root"] = source.images_root and str(source.images_root.absolute())
        for number, name in enumerate(particles.image_files):
            path = locate_image_file(name, source.path, source.images_root)
            files[f"images_{number}"] = take_fingerprint(path, is_sampled=True)
    return {
        "versions": installed_versions(),
        "files": {name: found.to_dict() for name, found in files.items()},
        "reading": reading,
        "table_sha256": None if particles is None else digest_of_table(particles),
    }


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _latest_iteration(run: Path) -> SavedIteration | None:
    folders = (run / "iterations").glob("[0-9]*")
    for folder in sorted(folders, key=lambda one: int(one.name), reverse=True):
        saved = _read_iteration(folder)
        if saved is not None:
            return saved
    return None


def _read_iteration(folder: Path) -> SavedIteration | None:
    """The iteration of a folder, or None where it is not what its manifest says."""
    try:
        listed = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    found = _digests(folder)
    found.pop("manifest.json")
    if found != listed:
        return None
    event = event_from_line((folder / "event.json").read_text("utf-8"), str(folder / "event.json"))
    return (
        SavedIteration(int(folder.name), folder, event, _saved_settings(folder))
        if isinstance(event, IterationEvent)
        else None
    )


def _saved_settings(folder: Path) -> RefinementSettings:
    path = folder / "settings.json"
    values = _saved_object(path)
    try:
        return RefinementSettings(**values)
    except HelixLabError as error:
        raise HelixLabError(f"{path}: {error} If nobody has edited it, {OTHER_VERSION}") from None


def _saved_object(path: Path) -> dict[str, Any]:
    """A JSON object that the run has written."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"no JSON object but {found!r}")
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: the file is damaged ({error}). Put a copy back, or begin a new run.") from None
    return found


def _events_through(events: list[Event], latest: SavedIteration | None) -> list[Event]:
    """The events up to an iteration's; its own is added where the run was killed before it could say it."""
    if latest is None:
        return []
    kept: list[Event] = []
    for event in events:
        if isinstance(event, IterationEvent) and event.iteration >= latest.number:
            break
        kept.append(event)
    return [*kept, latest.event]


def _remove(folder: Path) -> None:
    """Away under a name that nobody takes for a finished iteration, then for good."""
    if folder.exists():
        rubbish = folder.with_name(f".{secrets.token_hex(6)}")
        folder.rename(rubbish)
        shutil.rmtree(rubbish)


def _force_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
