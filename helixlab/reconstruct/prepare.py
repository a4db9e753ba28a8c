"""Particles as the refinement sees them: transforms in the frames of their filaments, CTFs, half-sets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from helixlab.errors import HelixLabError
from helixlab.io import BadImagesError, ImageSource, ParticleStack, ctf_columns
from helixlab.kernels._sharded import jit_rows
from helixlab.kernels.bands import PAD, Band, frequency_band, image_bands, largest_radius, narrow_band, normalise_images
from helixlab.kernels.ctf import CtfCoefficients, CtfParameters, ctf_coefficients, evaluate_ctf
from helixlab.kernels.masks import soft_step
from helixlab.reconstruct.at_once import check_abandoned
from helixlab.reconstruct.bad_particles import BACKGROUND_PART, images_without_background
from helixlab.reconstruct.band_store import BandStore, new_band_store
from helixlab.reconstruct.devices import batches, on_all, spread
from helixlab.reconstruct.half_sets import grouping, split_half_sets
from helixlab.reconstruct.memory import batch_bytes
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.spacing import inter_box_distance_A, places_A

MASK_EDGE_PX = 5.0
"""Width of the soft edge in which images end."""

_READ_MOST = 512
"""Images that a device transforms at a time where memory allows."""


@dataclass(frozen=True, eq=False)
class PreparedParticles:
    """Images as bands in their frames (:mod:`helixlab.kernels.bands`), with all else that an iteration asks for.

    Parameters
    ----------
    x : BandStore
        Transforms, each turned by its psi prior; in memory or on disk.
    ctf : CtfCoefficients
        In the same frames, in steps of one cycle per box.
    band : Band
        All shells below Nyquist.
    half_set : int array, shape (n,)
        1 or 2.
    filament, optics_group : int array, shape (n,)
        Numbers from 0.
    psi_prior_deg : float array, shape (n,)
    pixel_size_A : float
    inter_box_distance_A : float or None
        Between neighbouring segments of a filament; the median.
    batch_size : int, optional
        Images worked on at a time. Default: as many as ``batch_bytes`` allow.
    batch_bytes : int
        Memory that a batch may take on each device.
    has_filaments : bool
        Whether the table knew filaments. If not, ``filament`` numbers micrographs, whose segments share no polarity.
    mask_power : float
        Part of white noise's power that the images' mask leaves.
    place_A : float array, shape (n,), optional
        Where each box lies along its filament (:func:`spacing.places_A`); None where the table does not say.
    before_batch : callable
        Called before a batch of images is looked at, by two threads or more: a user's wish to stop is heard there, and
        ends the work by what it raises.
    """

    x: BandStore
    ctf: CtfCoefficients
    band: Band
    half_set: Int[np.ndarray, "n"]
    filament: Int[np.ndarray, "n"]
    optics_group: Int[np.ndarray, "n"]
    psi_prior_deg: Float[np.ndarray, "n"]
    pixel_size_A: float
    inter_box_distance_A: float | None
    batch_size: int | None = None
    batch_bytes: int = 1 << 30
    has_filaments: bool = True
    mask_power: float = 1.0
    place_A: Float[np.ndarray, "n"] | None = None
    before_batch: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self.half_set)

    @property
    def box_px(self) -> int:
        """Edge of the images."""
        return int(self.band.box)

    @property
    def box_A(self) -> float:
        """Edge of the images in Å."""
        return self.box_px * self.pixel_size_A

    @property
    def last_shell(self) -> int:
        """The last shell of the bands."""
        return largest_radius(self.box_px)

    def shell_of(self, resolution_A: float) -> int:
        """The shell of a resolution, at most the last."""
        return int(np.clip(round(self.box_A / resolution_A), 1, self.last_shell))

    def resolution_A(self, shell: float) -> float:
        """The resolution of a shell."""
        return self.box_A / shell

    def rows_of(self, half: int) -> Int[np.ndarray, "m"]:
        """The rows of half-set 1 or 2."""
        return np.flatnonzero(self.half_set == half)

    def batches(
        self, count: int, r_max: int, *, most: int, bytes_beside: float = 0.0, varies: bool = False
    ) -> Iterator[tuple[Int[np.ndarray, "b"], Bool[np.ndarray, "b"]]]:
        """Numbers 0 to count − 1 by batches of images that are looked at up to a shell (:func:`devices.batches`).

        Parameters
        ----------
        count, r_max : int
        most : int
            Images that a device takes at a time where memory allows.
        bytes_beside : float
            Taken for each image beside its transform.
        varies : bool
            Whether the count is another in each iteration.
        """
        bytes_per_image = 8.0 * len(narrow_band(self.band, r_max).k) + bytes_beside
        size, most_bytes = self.batch_size, self.batch_bytes
        yield from batches(count, bytes_per_image, most=most, batch_bytes=most_bytes, size=size, varies=varies)

    def whitened(
        self, rows: Int[np.ndarray, "m"], noise_power: Float[np.ndarray, "g s"], r_max: int
    ) -> tuple[Float[Array, "m 2 k"], Float[Array, "m k"], Band]:
        """Images and CTFs of some rows up to a shell, divided by their noise's amplitude; spread over the devices."""
        check_abandoned()
        self.before_batch()
        band = on_all(narrow_band(self.band, r_max))
        gain = np.asarray(1.0 / np.sqrt(noise_power)[:, np.asarray(band.shell)], np.float32)
        coefficients = CtfCoefficients(*(spread(np.asarray(c)[rows]) for c in self.ctf))
        x, group = spread(self.x.read(rows, len(band.k))), spread(self.optics_group[rows].astype(np.int32))
        return *_whitened(x, coefficients, group, gain, band.k), band


def prepare_particles(
    stack: ParticleStack, settings: RefinementSettings, *, scratch_dir: Path | None = None
) -> PreparedParticles:
    """Read all images, batch by batch, and turn them into their frames.

    Their transforms take about twice the images' memory; where this is more than a quarter of what is free, they lie in
    a scratch file instead, which is gone when the run ends.

    Parameters
    ----------
    stack : ParticleStack
        With images, filaments, CTF and in-plane angles (psi priors, or the psi of an earlier alignment).
    settings : RefinementSettings
    scratch_dir : path, optional
        Where a scratch file is made; default: the system's folder for temporary files (TMPDIR).

    Returns
    -------
    PreparedParticles

    Raises
    ------
    HelixLabError
        If a column is missing, pixel sizes differ, or an image cannot be used; it names the row. If the scratch file
        does not fit on the disk.
    """
    pixel_size_A = _one_pixel_size(stack)
    if stack.psi_prior_deg is None and stack.psi_deg is None:
        stack.require("psi_prior_deg")
    psi = np.asarray(stack.psi_deg if stack.psi_prior_deg is None else stack.psi_prior_deg, np.float64)
    source = ImageSource(stack)
    box = source.box_px
    band = frequency_band(box, largest_radius(box))
    columns = ctf_columns(stack)
    columns["defocus_angle_deg"] = columns["defocus_angle_deg"] + psi
    ctf = ctf_coefficients(CtfParameters.of(**columns), step_per_A=1.0 / (box * pixel_size_A))
    padded_bytes, most_bytes = 4.0 * (PAD * box) ** 2, batch_bytes()
    x = new_band_store(len(stack), len(band.k), scratch_dir)
    mask, everywhere = on_all(_image_mask(box)), on_all(band)
    for rows, is_valid in batches(
        len(stack), padded_bytes, most=_READ_MOST, batch_bytes=most_bytes, size=settings.batch_size
    ):
        images = source.read_batch(rows)
        bad = images_without_background(stack, rows, images)
        if bad:
            raise BadImagesError(str(stack.source.path or "particles"), bad)
        images = normalise_images(spread(images), BACKGROUND_PART * box / 2)
        found = image_bands(images, mask, spread(psi[rows].astype(np.float32)), everywhere)
        x.write(int(rows[0]), np.asarray(found)[is_valid])
    return PreparedParticles(
        x,
        ctf,
        band,
        split_half_sets(stack, settings.seed),
        np.unique(grouping(stack), return_inverse=True)[1].reshape(-1),
        stack.optics_group if settings.noise_per_optics_group else np.zeros(len(stack), np.int64),
        psi,
        pixel_size_A,
        inter_box_distance_A(stack),
        settings.batch_size,
        most_bytes,
        stack.filament_id is not None,
        float(np.mean(np.asarray(mask, np.float64) ** 2)),
        places_A(stack, psi),
    )


@jit_rows("x", "coefficients", "group")
def _whitened(
    x: Float[Array, "m 2 k"],
    coefficients: CtfCoefficients,
    group: Int[Array, "m"],
    gain: Float[Array, "g k"],
    k: Float[Array, "k 2"],
) -> tuple[Float[Array, "m 2 k"], Float[Array, "m k"]]:
    gain = gain[group]
    return x * gain[:, None], evaluate_ctf(coefficients, k[:, 0], k[:, 1]) * gain


def narrowed(particles: PreparedParticles, resolution_A: float) -> PreparedParticles:
    """The same images in the smallest box that holds a resolution: all work on maps becomes less.

    Transforms of images are divided by the box's edge, so that they keep their values, and with them the noise.
    """
    band = narrow_band(particles.band, particles.shell_of(resolution_A))
    box = 2 * int(band.shell[-1]) + 1
    return replace(
        particles, band=band._replace(box=np.float32(box)), pixel_size_A=particles.box_px * particles.pixel_size_A / box
    )


def _one_pixel_size(stack: ParticleStack) -> float:
    sizes = np.unique(np.round(stack.pixel_size_A, 4))
    if len(sizes) > 1:
        raise HelixLabError(
            f"pixel size: found {sizes[0]:g} to {sizes[-1]:g} Å among the optics groups; one refinement needs one. "
            "Rescale the images of one group, or refine the groups apart."
        )
    return float(stack.pixel_size_A[0])


def _image_mask(box: int) -> Float[Array, "b b"]:
    """A soft circle, as wide as the box."""
    y = np.arange(box) - box // 2
    return soft_step(np.hypot(y[:, None], y) - (box / 2 - MASK_EDGE_PX), MASK_EDGE_PX)
