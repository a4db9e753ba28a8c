"""What the microscope makes of a projection: CTF, noise, and boxes cut out as a user's program cuts them.

A filament is imaged in a patch of micrograph wide enough for what the CTF spreads, and its overlapping boxes are cut
from that one patch: they share their noise as real ones do. Noise is Gaussian, the limit of counting electrons at the
doses of a whole exposure; its spectrum falls with the detector's MTF and has solvent's excess at low frequency.
"""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Complex, Float
from scipy.fft import next_fast_len

from helixlab.errors import HelixLabError
from helixlab.kernels.ctf import CtfParameters, ctf_on_grid, electron_wavelength_A
from helixlab.simulate.filaments import Filament, Segments
from helixlab.simulate.particle_settings import OpticsSettings, ParticleSettings

MICROGRAPH_PX = 4096
"""Edge of a micrograph, in which patches are placed at random; larger patches make larger ones."""

_MAX_PATCH_PX = 8192
_SPARE_PX = 16
_SOLVENT_A = 20.0
"""Solvent's excess falls to a half at 1/(20 Å)."""

_BACKGROUND_GAP_PX = 4
"""Pixels between the filament's outer radius and the background that images are normalised by."""


def patch_size_px(settings: ParticleSettings) -> int:
    """Edge of the patch that holds all boxes of a filament and what the CTF spreads into them.

    Raises
    ------
    HelixLabError
        If it would not fit into a micrograph.

    Notes
    -----
    Δf and λ spread the frequency k by λ Δf k; k is at most Nyquist.
    """
    spread_A = 0.0
    if settings.defocus_range_A is not None:
        wavelength_A = max(electron_wavelength_A(np.array([o.voltage_kV for o in settings.optics])))
        farthest_A = max(map(abs, settings.defocus_range_A)) + settings.astigmatism_A
        spread_A = wavelength_A * farthest_A / (2 * settings.pixel_size_A)
    errors_A = 5 * math.hypot(settings.shift_along_sd_A, settings.shift_across_sd_A)
    span_px = (settings.track_length_A + 2 * (errors_A + spread_A)) / settings.pixel_size_A
    half = (math.ceil(span_px) + settings.box_px + _SPARE_PX + 1) // 2
    size = 2 * int(next_fast_len(half, real=True))  # type: ignore[arg-type]
    if size > _MAX_PATCH_PX:
        raise HelixLabError(
            f"segments_per_filament: found {settings.segments_per_filament}, {settings.track_length_A:.0f} Å in all; a "
            f"filament and its surroundings would take {size} pixels, {_MAX_PATCH_PX} are the most. Make more and "
            "shorter filaments."
        )
    return size


def check_background(settings: ParticleSettings, outer_radius_A: float) -> None:
    """Refuse a box without room for the background beside the filament."""
    needed = math.ceil(2.2 * (outer_radius_A / settings.pixel_size_A + _BACKGROUND_GAP_PX))
    if settings.box_px < needed:
        raise HelixLabError(
            f"box_px: found {settings.box_px}; a filament of {outer_radius_A:.0f} Å radius needs at least {needed} "
            "pixels, so that there is background beside it. Give a larger box."
        )


def draw_ctf(micrograph: int, settings: ParticleSettings) -> CtfParameters | None:
    """The CTF of a micrograph; None where the simulation has none."""
    if settings.defocus_range_A is None:
        return None
    rng = np.random.default_rng([settings.seed, 2, micrograph])
    optics = settings.optics[micrograph % len(settings.optics)]
    mean_A = rng.uniform(*settings.defocus_range_A)
    half_A = 0.5 * settings.astigmatism_A * rng.random()
    return CtfParameters.of(
        defocus_u_A=mean_A + half_A,
        defocus_v_A=mean_A - half_A,
        defocus_angle_deg=rng.uniform(0.0, 180.0),
        voltage_kV=optics.voltage_kV,
        cs_mm=optics.cs_mm,
        amplitude_contrast=optics.amplitude_contrast,
        phase_shift_deg=optics.phase_shift_deg,
        bfactor_A2=optics.bfactor_A2,
    )


def image_transform(
    projection: Float[np.ndarray, "n n"], ctf: CtfParameters | None, optics: OpticsSettings, pixel_size_A: float
) -> Complex[np.ndarray, "n nh"]:
    """``rfft2`` of a patch after the CTF and the B factor; its origin is a corner."""
    transform = np.fft.rfft2(projection)
    if ctf is not None:
        return transform * np.asarray(ctf_on_grid(ctf, len(projection), pixel_size_A)[0])
    squared = _radius_per_px(len(projection)) ** 2 / pixel_size_A**2
    return transform * np.exp(-0.25 * optics.bfactor_A2 * squared)


def noise_transform(filament: Filament, settings: ParticleSettings, size_px: int) -> Complex[np.ndarray, "n nh"]:
    """``rfft2`` of a patch of noise of variance 1."""
    rng = np.random.default_rng([settings.seed, 3, filament.number])
    white = rng.standard_normal((size_px, size_px), np.float32)
    optics = settings.optics[filament.optics]
    amplitude = _noise_amplitude(size_px, settings.pixel_size_A, optics.noise_at_nyquist, optics.solvent_noise)
    return np.fft.rfft2(white) * amplitude


def cut_boxes(patch: Float[np.ndarray, "n n"], segments: Segments, box_px: int) -> Float[np.ndarray, "k b b"]:
    """The segments' boxes from the patch whose pixel n // 2 is the filament's middle."""
    low = segments.centre_px.astype(int) + len(patch) // 2 - box_px // 2
    return np.stack([patch[y : y + box_px, x : x + box_px] for x, y in low])


def normalise(
    boxes: Float[np.ndarray, "k b b"], psi_prior_deg: Float[np.ndarray, "k"], outer_radius_px: float
) -> Float[np.ndarray, "k b b"]:
    """Mean 0 and standard deviation 1 of the background, which lies beside a filament along the prior."""
    x = np.arange(boxes.shape[1]) - boxes.shape[1] // 2
    psi = np.deg2rad(psi_prior_deg)[:, None, None]
    is_background = np.abs(x * np.sin(psi) + x[:, None] * np.cos(psi)) > outer_radius_px + _BACKGROUND_GAP_PX
    count = is_background.sum((1, 2), keepdims=True)
    mean = np.where(is_background, boxes, 0).sum((1, 2), keepdims=True) / count
    variance = np.where(is_background, (boxes - mean) ** 2, 0).sum((1, 2), keepdims=True) / count
    return ((boxes - mean) / np.sqrt(variance)).astype(np.float32)


@lru_cache(maxsize=4)
def _noise_amplitude(
    size_px: int, pixel_size_A: float, noise_at_nyquist: float, solvent_noise: float
) -> Float[np.ndarray, "n nh"]:
    """Square root of the noise's spectrum: Gaussian in the power, 1 + solvent's excess at frequency 0, then scaled."""
    radius = _radius_per_px(size_px)
    power = noise_at_nyquist ** (4 * radius**2) * (1 + solvent_noise / (1 + (radius * _SOLVENT_A / pixel_size_A) ** 2))
    times = np.full(radius.shape, 2.0)
    times[:, [0, -1]] = 1.0  # its own Friedel mates; the size is even
    return np.sqrt(power * size_px**2 / np.sum(power * times)).astype(np.float32)


def _radius_per_px(size_px: int) -> Float[np.ndarray, "n nh"]:
    return np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px))
