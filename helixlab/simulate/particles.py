"""From a structure to filament segments on disk: images, tables as a user has them, and the truth apart."""

import dataclasses
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, Volume
from helixlab.io import ParticleStack, read_particles, write_particles, write_volume
from helixlab.io._files import written_whole
from helixlab.io.images import new_image_stack
from helixlab.simulate.atoms import AtomicUnit
from helixlab.simulate.filaments import Filament, Segments, draw_filament, lean_deg, pick_segments
from helixlab.simulate.helix import simulate_helix
from helixlab.simulate.micrographs import (
    check_background,
    cut_boxes,
    draw_ctf,
    image_transform,
    noise_transform,
    normalise,
    patch_size_px,
)
from helixlab.simulate.particle_settings import ParticleSettings
from helixlab.simulate.particle_tables import truth_table, user_table
from helixlab.simulate.strips import StripProjector, piece_length_px

Progress = Callable[[str, float], None]

_DEFAULT_RESOLUTION_PX = 2.4
"""A model's low-pass in pixels, unless given: its edge ends before Nyquist."""

_MAX_LEAN_DEG = 60.0
"""Filaments lie in thin ice; at this tilt a projection already takes twice their radius more of the map's length."""

_FILAMENTS_FOR_SNR = 8
"""The signal's variance is measured on this many filaments of an optics group, evenly spread."""


@dataclass(frozen=True, eq=False)
class SimulatedParticles:
    """A set of filament segments and all that is true of it.

    Parameters
    ----------
    particles : ParticleStack
        What a user has: coordinates, CTF, priors.
    truth : ParticleStack
        The same with true poses, B factors, symmetry, and half sets by filament.
    filaments : tuple of Filament
        By number; ``truth.filament_id`` refers to them.
    symmetry : HelicalSymmetry
    reference : Volume
        The map that true poses and shifts refer to.
    outer_radius_A : float
    settings : ParticleSettings
    signal_scale : tuple of float
        By optics group: the signal's factor where the noise has variance 1.
    model : str
        Where the map comes from.
    files : dict
        Those written: "images", "star", "cs", "truth_star", "truth_json", "map".
    """

    particles: ParticleStack
    truth: ParticleStack
    filaments: tuple[Filament, ...]
    symmetry: HelicalSymmetry
    reference: Volume
    outer_radius_A: float
    settings: ParticleSettings
    signal_scale: tuple[float, ...]
    model: str
    files: dict[str, Path]


def simulate_particles(
    model: str | Path | AtomicUnit | Volume,
    symmetry: HelicalSymmetry,
    out_dir: str | os.PathLike[str],
    settings: ParticleSettings | None = None,
    *,
    resolution_A: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SimulatedParticles:
    """Simulate filaments on micrographs and cut them into overlapping segments.

    Writes ``particles.mrcs``, ``particles.star`` and ``particles.cs``, and under ``truth/`` the map (``map.mrc``), the
    true poses (``truth.star``) and everything else (``truth.json``). Images are written filament by filament.

    Parameters
    ----------
    model : path, "builtin", AtomicUnit or Volume
        An atomic model (as for :func:`simulate_helix`), or a map: symmetric, axis along z through its centre, of the
        settings' pixel size, with 0 as solvent.
    symmetry : HelicalSymmetry
        The model's, or the map's.
    out_dir : path
        Folder; made if it is missing.
    settings : ParticleSettings, optional
    resolution_A : float, optional
        Low-pass of an atomic model, by default 2.4 pixels. A map is taken as it is.
    overwrite : bool
        Whether files may be replaced.
    progress : callable (stage, fraction), optional

    Returns
    -------
    SimulatedParticles

    Raises
    ------
    HelixLabError
        If the settings do not fit together or the model, or a file exists and ``overwrite`` is false.

    Notes
    -----
    Contrast and signs are RELION's after normalisation: protein is bright, the CTF starts positive, underfocus is
    positive, the background of each image has mean 0 and standard deviation 1. A filament is one continuous helix, bent
    in and out of the plane; its segments' rot and place along the axis follow from the true length along it. It is
    projected as a weak phase object; the bend deforms it elastically, by outer radius over radius of curvature, which
    is below 10⁻³ up to some 10°/µm. Filaments do not cross, and there is no beam tilt.

    Examples
    --------
    >>> import tempfile
    >>> few = ParticleSettings(n_filaments=2, segments_per_filament=3, box_px=64, pixel_size_A=4.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = simulate_particles("builtin", HelicalSymmetry(60.0, 12.0), folder, few)
    ...     sorted(path.name for path in made.files.values())
    ['map.mrc', 'particles.cs', 'particles.mrcs', 'particles.star', 'truth.json', 'truth.star']
    """
    settings = settings or ParticleSettings()
    report = progress or (lambda stage, fraction: None)
    size_px = patch_size_px(settings)
    filaments = [draw_filament(number, settings) for number in range(settings.n_filaments)]
    if filaments[-1].micrograph + 1 < len(settings.optics):
        raise HelixLabError(
            f"optics: found {len(settings.optics)} groups for {filaments[-1].micrograph + 1} micrographs; make more "
            "filaments, or fewer of them on a micrograph."
        )
    half_diagonal_A = size_px * settings.pixel_size_A / math.sqrt(2)
    max_lean_deg = max(lean_deg(filament, half_diagonal_A) for filament in filaments)
    if max_lean_deg > _MAX_LEAN_DEG:
        raise HelixLabError(
            f"tilt_sd_deg, tilt_bend_deg_per_um: filaments would lean by up to {max_lean_deg:.0f}° out of the image "
            f"plane; {_MAX_LEAN_DEG:.0f}° are the most. Make them smaller, or the filaments shorter."
        )
    files = _free_files(Path(out_dir), overwrite)

    report("making the map", 0.0)
    source = _source_map(model, symmetry, settings, resolution_A, max_lean_deg)
    check_background(settings, source.outer_radius_A)
    projector = StripProjector(source.tall, symmetry, source.outer_radius_A, max_lean_deg)
    laboratory = _Laboratory(settings, symmetry, projector, size_px)

    report("measuring the signal", 0.05)
    scales = laboratory.signal_scales(filaments)
    _make_folder(files["map"].parent)
    picked = []
    with new_image_stack(
        files["images"], settings.n_segments, settings.box_px, settings.pixel_size_A, overwrite=overwrite
    ) as images:
        for filament in filaments:
            report("imaging filaments", 0.1 + 0.9 * filament.number / len(filaments))
            segments = pick_segments(filament, symmetry, settings)
            start = filament.number * settings.segments_per_filament
            images[start : start + settings.segments_per_filament] = laboratory.images(
                filament, segments, scales[filament.optics]
            )
            picked.append(segments)

    particles = user_table(settings, filaments, picked, size_px)
    made = SimulatedParticles(
        particles=particles,
        truth=truth_table(particles, settings, symmetry, filaments, picked),
        filaments=tuple(filaments),
        symmetry=symmetry,
        reference=source.reference,
        outer_radius_A=source.outer_radius_A,
        settings=settings,
        signal_scale=tuple(scales),
        model=source.name,
        files=files,
    )
    _write_tables(made, overwrite)
    report("done", 1.0)
    return made


# --- the map ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _SourceMap:
    """What filaments are made of: a map tall enough, and its middle that poses refer to."""

    tall: Volume
    reference: Volume
    outer_radius_A: float
    name: str


def _source_map(
    model: str | Path | AtomicUnit | Volume,
    symmetry: HelicalSymmetry,
    settings: ParticleSettings,
    resolution_A: float | None,
    max_lean_deg: float,
) -> _SourceMap:
    if isinstance(model, Volume):
        return _from_volume(model, settings, resolution_A)
    n, pixel_A = settings.box_px, settings.pixel_size_A
    resolution_A = _DEFAULT_RESOLUTION_PX * pixel_A if resolution_A is None else resolution_A
    # As wide as the box, the filament can have no larger radius than half of it.
    widest_A = settings.outer_radius_A or 0.5 * n * pixel_A
    height = max(n, piece_length_px(symmetry, pixel_A, widest_A, max_lean_deg))
    made = simulate_helix(
        model,
        symmetry,
        box=(height, n, n),
        pixel_size_A=pixel_A,
        resolution_A=resolution_A,
        outer_radius_A=settings.outer_radius_A,
    )
    low = height // 2 - n // 2
    reference = Volume(made.truth.data[low : low + n], pixel_A)
    return _SourceMap(made.truth, reference, made.outer_radius_A, made.unit.name)


def _from_volume(volume: Volume, settings: ParticleSettings, resolution_A: float | None) -> _SourceMap:
    if resolution_A is not None:
        raise HelixLabError("resolution_A: a map is taken as it is; low-pass it before, or leave this out.")
    if abs(volume.pixel_size_A - settings.pixel_size_A) > 1e-4 * settings.pixel_size_A:
        raise HelixLabError(
            f"pixel_size_A: found {settings.pixel_size_A:g} in the settings and {volume.pixel_size_A:g} in the map; "
            "they must agree. Set it to the map's, or resample the map."
        )
    if settings.outer_radius_A is None:
        raise HelixLabError("outer_radius_A: a map does not say where its filament ends; set it, in Å.")
    return _SourceMap(volume, volume, settings.outer_radius_A, "map")


# --- the images -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Laboratory:
    """Makes images of filaments."""

    settings: ParticleSettings
    symmetry: HelicalSymmetry
    projector: StripProjector
    size_px: int

    def images(self, filament: Filament, segments: Segments, scale: float) -> Float[np.ndarray, "k b b"]:
        """The boxes of one filament, with noise and normalised where there is noise."""
        transform = scale * self._signal(filament)
        if self.settings.optics[filament.optics].snr is None:
            return self._boxes(transform, segments)
        transform = transform + noise_transform(filament, self.settings, self.size_px)
        radius_px = self.projector.outer_radius_A / self.settings.pixel_size_A
        return normalise(self._boxes(transform, segments), segments.psi_prior_deg, radius_px)

    def signal_scales(self, filaments: list[Filament]) -> list[float]:
        """By optics group the factor that gives the signal its variance relative to noise of variance 1."""
        scales = []
        for number, optics in enumerate(self.settings.optics):
            mine = [f for f in filaments if f.optics == number]
            sample = mine[:: math.ceil(len(mine) / _FILAMENTS_FOR_SNR)] if optics.snr is not None else []
            variances = [self._signal_variance(filament) for filament in sample]
            scales.append(1.0 if optics.snr is None else math.sqrt(optics.snr / np.mean(variances)))
        return scales

    def _signal_variance(self, filament: Filament) -> float:
        segments = pick_segments(filament, self.symmetry, self.settings)
        return float(self._boxes(self._signal(filament), segments).var(axis=(1, 2)).mean())

    def _signal(self, filament: Filament) -> np.ndarray:
        projection = self.projector.project(filament, self.size_px)
        ctf = draw_ctf(filament.micrograph, self.settings)
        optics = self.settings.optics[filament.optics]
        return image_transform(projection, ctf, optics, self.settings.pixel_size_A)

    def _boxes(self, transform: np.ndarray, segments: Segments) -> Float[np.ndarray, "k b b"]:
        patch = np.fft.irfft2(transform, (self.size_px, self.size_px))
        return cut_boxes(patch.astype(np.float32), segments, self.settings.box_px)


# --- files ------------------------------------------------------------------------------------------------


def _free_files(folder: Path, overwrite: bool) -> dict[str, Path]:
    """The files to be written, refused before any work where they exist."""
    truth = folder / "truth"
    files = {
        "images": folder / "particles.mrcs",
        "star": folder / "particles.star",
        "cs": folder / "particles.cs",
        "map": truth / "map.mrc",
        "truth_star": truth / "truth.star",
        "truth_json": truth / "truth.json",
    }
    for path in files.values():
        if path.exists() and not overwrite:
            raise HelixLabError(
                f"{path}: the file exists already; choose another folder or allow overwriting (overwrite=True)."
            )
    return files


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HelixLabError(f"{folder}: cannot be made ({error.strerror}); choose another folder.") from error


def _write_tables(made: SimulatedParticles, overwrite: bool) -> None:
    write_particles(made.files["star"], made.particles, overwrite=overwrite)
    # By way of the STAR file .cs has also what it has no fields for, as text; STAR has none for the filament's length.
    lengths = {name: getattr(made.particles, name) for name in ("filament_length_A", "inter_box_distance_A")}
    write_particles(made.files["cs"], read_particles(made.files["star"]).replace(**lengths), overwrite=overwrite)
    write_particles(made.files["truth_star"], made.truth, overwrite=overwrite)
    write_volume(made.files["map"], made.reference, overwrite=overwrite)
    text = json.dumps(truth_values(made), indent=2, ensure_ascii=False) + "\n"
    with written_whole(made.files["truth_json"], overwrite=overwrite) as temporary:
        temporary.write_text(text, "utf-8")


def truth_values(made: SimulatedParticles) -> dict[str, object]:
    """Everything that is true of a simulation but the poses, as plain JSON values.

    Parameters
    ----------
    made : SimulatedParticles

    Returns
    -------
    dict
        Symmetry, model, radius, signal scales, settings, and the curve and polarity of every filament.
    """
    return {
        "twist_deg": made.symmetry.twist_deg,
        "rise_A": made.symmetry.rise_A,
        "point_group": made.symmetry.point_group,
        "model": made.model,
        "map": "map.mrc",
        "outer_radius_A": made.outer_radius_A,
        "signal_scale": list(made.signal_scale),
        "settings": made.settings.model_dump(mode="json"),
        "filaments": [dataclasses.asdict(filament) for filament in made.filaments],
    }
