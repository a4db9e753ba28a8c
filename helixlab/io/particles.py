"""Particles and filament segments, whichever program listed them: one value, :class:`ParticleStack`."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from helixlab.errors import FileFormatError, HelixLabError
from helixlab.io.column_map import BY_NAME, PARTICLE_COLUMNS
from helixlab.io.image_stacks import check_indices, locate_image_file, read_images, read_stack_header
from helixlab.io.mrc_header import MrcHeader
from helixlab.io.star import StarFile

FloatColumn = Float[np.ndarray, "n"] | None
IntColumn = Int[np.ndarray, "n"] | None


@dataclass(frozen=True, eq=False)
class OpticsGroups:
    """What the microscope had in common for groups of images; arrays of shape (g,).

    Parameters
    ----------
    number : int array
        RELION's ``rlnOpticsGroup``.
    name : tuple of str
    pixel_size_A : float array
        Of the particle images, Å, > 0.
    box_size_px : int array
        Edge of the particle images, 0 where the table does not say.
    voltage_kV, cs_mm, amplitude_contrast : float array or None
    helical_twist_deg, helical_rise_A : float array or None
    """

    number: Int[np.ndarray, "g"]
    name: tuple[str, ...]
    pixel_size_A: Float[np.ndarray, "g"]
    box_size_px: Int[np.ndarray, "g"]
    voltage_kV: Float[np.ndarray, "g"] | None = None
    cs_mm: Float[np.ndarray, "g"] | None = None
    amplitude_contrast: Float[np.ndarray, "g"] | None = None
    helical_twist_deg: Float[np.ndarray, "g"] | None = None
    helical_rise_A: Float[np.ndarray, "g"] | None = None

    def __len__(self) -> int:
        return len(self.number)


@dataclass(frozen=True, eq=False)
class Source:
    """Where a stack came from, and the tables word for word, so that nothing unknown is lost.

    Parameters
    ----------
    path : Path or None
        The file read.
    images_root : Path or None
        The folder that image names are relative to.
    star : StarFile or None
        The STAR file, row by row the stack's; its numbers are kept as text.
    star_block : str
        Name of the particles' block in it.
    cs : structured array or None
        The CryoSPARC table, row by row the stack's.
    passthrough : tuple of Path
        The passthrough files that were joined to it.
    """

    path: Path | None = None
    images_root: Path | None = None
    star: StarFile | None = None
    star_block: str = "particles"
    cs: np.ndarray | None = None
    passthrough: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class ParticleStack:
    """Particles: their images, optics, CTF, poses and places along filaments, as columns of shape (n,).

    Angles, shifts and signs are RELION's (:mod:`helixlab.geometry.pose`); a quantity the file does not have is None.
    The images stay on disk until :meth:`images` reads a batch.

    Parameters
    ----------
    image_files : tuple of str
        The image files as named in the table.
    image_file, image_index : int array
        Of each particle, the position in ``image_files`` and the 0-based position in that file.
    optics : OpticsGroups
    optics_group : int array
        Position of each particle's group in ``optics``.
    micrograph_names, micrograph : tuple of str, int array or None
        The micrographs and each particle's position in that list.
    coordinate_x_px, coordinate_y_px : float array or None
        Box centre in the micrograph, pixels.
    rot_deg, tilt_deg, psi_deg : float array or None
    shift_x_A, shift_y_A : float array or None
        What must be added to centre the particle.
    class_number, half_set : int array or None
        Counted from 1; a half set is 1 or 2.
    defocus_u_A, defocus_v_A, defocus_angle_deg, phase_shift_deg, ctf_bfactor_A2, ctf_scale : float array or None
        Underfocus is positive.
    filament_id : int array or None
        The filament, 0, 1, …, unique across micrographs.
    tilt_prior_deg, psi_prior_deg, psi_flip_ratio : float array or None
        What filament tracing knows of the pose; polarity is unknown at flip ratio 0.5.
    track_length_A : float array or None
        Place of the segment along its filament.
    filament_length_A, inter_box_distance_A : float array or None
        Length of the whole filament and distance of neighbouring boxes.
    source : Source
        The tables read, for writing back what is unknown here.
    """

    image_files: tuple[str, ...]
    image_file: Int[np.ndarray, "n"]
    image_index: Int[np.ndarray, "n"]
    optics: OpticsGroups
    optics_group: Int[np.ndarray, "n"]
    micrograph_names: tuple[str, ...] = ()
    micrograph: IntColumn = None
    coordinate_x_px: FloatColumn = None
    coordinate_y_px: FloatColumn = None
    rot_deg: FloatColumn = None
    tilt_deg: FloatColumn = None
    psi_deg: FloatColumn = None
    shift_x_A: FloatColumn = None
    shift_y_A: FloatColumn = None
    class_number: IntColumn = None
    half_set: IntColumn = None
    defocus_u_A: FloatColumn = None
    defocus_v_A: FloatColumn = None
    defocus_angle_deg: FloatColumn = None
    phase_shift_deg: FloatColumn = None
    ctf_bfactor_A2: FloatColumn = None
    ctf_scale: FloatColumn = None
    filament_id: IntColumn = None
    tilt_prior_deg: FloatColumn = None
    psi_prior_deg: FloatColumn = None
    psi_flip_ratio: FloatColumn = None
    track_length_A: FloatColumn = None
    filament_length_A: FloatColumn = None
    inter_box_distance_A: FloatColumn = None
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        n = len(self.image_index)
        if n == 0:
            raise HelixLabError(f"{self._name}: found no particles (0 rows); needed at least one. Check the selection.")
        for name in ROW_COLUMNS:
            values = getattr(self, name)
            if values is not None and values.shape != (n,):
                raise HelixLabError(
                    f"ParticleStack.{name}: found shape {values.shape}; needed ({n},), one per particle."
                )

    def __len__(self) -> int:
        return len(self.image_index)

    @property
    def pixel_size_A(self) -> Float[np.ndarray, "n"]:
        """Pixel size of each particle's image in Å."""
        return self.optics.pixel_size_A[self.optics_group]

    @property
    def n_filaments(self) -> int:
        """Number of filaments; 0 where there are none."""
        return 0 if self.filament_id is None else len(np.unique(self.filament_id))

    @property
    def passthrough_hint(self) -> str:
        """What else to do about a missing column: CryoSPARC's jobs write some of them into a passthrough file."""
        if self.source.cs is None or self.source.star is not None or self.source.passthrough:
            return ""
        return ", or add the job's passthrough file with --passthrough (in Python passthrough=[...])"

    def require(self, *names: str) -> None:
        """Raise a HelixLabError that names the missing column, unless the stack has all of these.

        Examples
        --------
        >>> from helixlab.io import new_particle_stack
        >>> new_particle_stack(["a.mrcs"], [0], [0], 1.0, 64).require("half_set")
        Traceback (most recent call last):
            ...
        helixlab.errors.HelixLabError: particles: the column _rlnRandomSubset (RELION 1.3 and later) ...
        """
        for name in names:
            if getattr(self, name) is not None:
                continue
            column = BY_NAME[name]
            relion = column.star and f"{column.star} (RELION {column.since} and later)"
            cryosparc = column.cs and f"{column.cs.format(a='alignments3D')} (CryoSPARC)"
            raise HelixLabError(
                f"{self._name}: the column {' or '.join(filter(None, (relion, cryosparc)))} is missing. Use a table "
                f"that has it{self.passthrough_hint}."
            )

    def replace(self, **columns: object) -> "ParticleStack":
        """The stack with some columns changed; unknown columns and unchanged numbers stay word for word."""
        unknown = set(columns) - {f.name for f in dataclasses.fields(self)}
        if unknown:
            raise HelixLabError(f"ParticleStack: there is no column {', '.join(sorted(unknown))}.")
        return dataclasses.replace(self, **columns)  # type: ignore[arg-type]

    def select(self, rows: Int[np.ndarray, "k"]) -> "ParticleStack":
        """The stack of these rows, in this order."""
        rows = np.asarray(rows)
        chosen = {name: getattr(self, name) for name in ROW_COLUMNS}
        chosen = {name: None if values is None else values[rows] for name, values in chosen.items()}
        return dataclasses.replace(self, **chosen, source=_select_source(self.source, rows))

    def image_name(self, row: int) -> str:
        """The image of a row in RELION's words, "000001@file" (counted from 1)."""
        return f"{self.image_index[row] + 1:06d}@{self.image_files[self.image_file[row]]}"

    def check_images(self) -> tuple[int, int]:
        """Check every image file against the table, before any work: it is there, large enough, of one box size.

        Returns
        -------
        height, width : int
            Pixels of every image.

        Raises
        ------
        FileFormatError
            If an image file is missing or damaged, has fewer images than a row asks for, or another box size than
            the table says or the other files have.
        """
        sizes: dict[tuple[int, int], MrcHeader] = {}
        for number in np.unique(self.image_file):
            sizes.setdefault((header := self._header(int(number))).file_shape[1:], header)
            if len(sizes) > 1:
                (size, first), (other, second) = list(sizes.items())[:2]
                raise FileFormatError(
                    f"{second.path}: found images of {other[1]} × {other[0]} pixels; those of {first.path} have "
                    f"{size[1]} × {size[0]}. Extract all with one box size, or split the table."
                )
        return next(iter(sizes))

    def images(self, rows: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k y x"]:
        """The images of these rows, float32, in this order.

        Each file is mapped, not read: the cost is that of the images asked for.

        Raises
        ------
        FileFormatError
            As :meth:`check_images`, or if an image holds NaN.
        """
        rows = np.asarray(rows)
        out: np.ndarray | None = None
        for number in np.unique(self.image_file[rows]):
            header = self._header(int(number))
            if header.compression:
                raise FileFormatError(
                    f"{header.path}: compressed stacks cannot be read in batches; decompress it first."
                )
            where = np.flatnonzero(self.image_file[rows] == number)
            if out is None:
                out = np.empty((len(rows), *header.file_shape[1:]), np.float32)
            if header.file_shape[1:] != out.shape[1:]:
                self.check_images()
            out[where] = read_images(header, self.image_index[rows[where]])
        if out is None:
            raise HelixLabError(f"{self._name}: no rows were asked for; give at least one.")
        return out

    @property
    def _name(self) -> str:
        return str(self.source.path) if self.source.path else "particles"

    def _header(self, number: int) -> MrcHeader:
        """The checked header of one image file: large enough for its rows, and of the table's box size."""
        path = locate_image_file(self.image_files[number], self.source.path, self.source.images_root)
        header = read_stack_header(path)
        mine = self.image_file == number
        check_indices(header, self.image_index[mine])
        for box in np.unique(self.optics.box_size_px[self.optics_group[mine]]):
            if box and header.file_shape[1:] != (box, box):
                raise FileFormatError(
                    f"{path}: found images of {header.file_shape[2]} × {header.file_shape[1]} pixels; the table "
                    f"{self._name} says {box} × {box}. Table and images do not belong together."
                )
        return header


ROW_COLUMNS = (
    "image_file",
    "image_index",
    "optics_group",
    "micrograph",
    "filament_id",
    *(c.name for c in PARTICLE_COLUMNS),
)
"""The fields of ParticleStack with one value per particle."""


def new_particle_stack(
    image_files: list[str],
    image_file: list[int] | Int[np.ndarray, "n"],
    image_index: list[int] | Int[np.ndarray, "n"],
    pixel_size_A: float,
    box_size_px: int,
) -> ParticleStack:
    """A stack from nothing, with one optics group; further columns by :meth:`ParticleStack.replace`.

    Parameters
    ----------
    image_files : list of str
    image_file, image_index : int, shape (n,)
        Position in ``image_files``, and 0-based position in the file.
    pixel_size_A : float
        Å, > 0.
    box_size_px : int
        0 if unknown.

    Returns
    -------
    ParticleStack

    Examples
    --------
    >>> stack = new_particle_stack(["a.mrcs"], [0, 0], [0, 1], 1.5, 64)
    >>> len(stack), stack.image_name(1)
    (2, '000002@a.mrcs')
    """
    optics = OpticsGroups(
        np.array([1]), ("opticsGroup1",), np.array([float(pixel_size_A)]), np.array([int(box_size_px)])
    )
    files = np.asarray(image_file, np.int64)
    return ParticleStack(tuple(image_files), files, np.asarray(image_index, np.int64), optics, np.zeros_like(files))


def filament_direction_error_deg(stack: ParticleStack) -> Float[np.ndarray, "n"]:
    """How far each psi prior is from the direction in which the boxes of its filament follow each other.

    Parameters
    ----------
    stack : ParticleStack
        With filaments, coordinates and psi priors.

    Returns
    -------
    float64 array, shape (n,)
        Degrees in [0, 90], modulo the polarity; NaN for a filament of one segment. Near 0 for a sound table; near 90
        or scattered where a conversion lost the convention or flipped an axis of the micrograph.

    Raises
    ------
    HelixLabError
        If one of the columns is missing.

    Notes
    -----
    A filament along (cos α, sin α) in the micrograph has psi = −α (mod 180°).

    Examples
    --------
    >>> stack = new_particle_stack(["a.mrcs"], [0, 0], [0, 1], 1.0, 64).replace(
    ...     filament_id=np.array([0, 0]), coordinate_x_px=np.array([0.0, 3.0]),
    ...     coordinate_y_px=np.array([0.0, 3.0]), psi_prior_deg=np.array([-45.0, 134.0]))
    >>> filament_direction_error_deg(stack).round(6).tolist()
    [0.0, 1.0]
    """
    stack.require("filament_id", "coordinate_x_px", "coordinate_y_px", "psi_prior_deg")
    x, y, psi = stack.coordinate_x_px, stack.coordinate_y_px, stack.psi_prior_deg
    ids = stack.filament_id
    if x is None or y is None or psi is None or ids is None:
        raise HelixLabError("filament_direction_error_deg: a column is missing.")
    error = np.full(len(stack), np.nan)
    for filament in np.unique(ids):
        rows = np.flatnonzero(ids == filament)
        steps = np.stack([x[rows] - x[rows].mean(), y[rows] - y[rows].mean()])
        if len(rows) < 2 or not steps.any():
            continue
        # The main axis of the boxes: twice its angle has no polarity.
        twice = np.arctan2(2 * (steps[0] * steps[1]).sum(), (steps[0] ** 2 - steps[1] ** 2).sum())
        error[rows] = np.abs((psi[rows] + np.rad2deg(twice) / 2 + 90) % 180 - 90)
    return error


def _select_source(source: Source, rows: np.ndarray) -> Source:
    star = source.star
    if star is not None:
        blocks = tuple(
            dataclasses.replace(b, columns={k: v[rows] for k, v in b.columns.items()})
            if b.name == source.star_block
            else b
            for b in star.blocks
        )
        star = dataclasses.replace(star, blocks=blocks)
    return dataclasses.replace(source, star=star, cs=None if source.cs is None else source.cs[rows])
