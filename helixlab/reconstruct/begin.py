"""What a refinement begins with."""

import numpy as np

from helixlab.errors import HelixLabError
from helixlab.geometry import Volume
from helixlab.reconstruct.initial_model import initial_model
from helixlab.reconstruct.masking import FilamentMask, dynamic_mask, static_mask
from helixlab.reconstruct.maximisation import mean_map
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.reconstruct.references import (
    FSC_FLOOR,
    GRID_RES_A,
    first_shared_res_A,
    joined_references,
    next_align_shell,
)
from helixlab.reconstruct.settings import RefinementSettings
from helixlab.reconstruct.starts import find_start
from helixlab.reconstruct.state import RefinementState, symmetry_order
from helixlab.reconstruct.symmetry_update import SymmetryEstimate

_HOPE = 0.9
"""FSC of the first references, which were low-passed instead of compared."""

_KNOWN_A = 20.0
"""To which an initial model is taken for known where no symmetry is imposed."""

_NO_TWO_AGREE = (
    "Of {} pairs of initial models from random azimuths no two agreed (highest correlation {:.2f}): polarities may be "
    "mixed. Compare runs with other seeds, allow more initial models, or give one{}."
)

_SAME_PIXEL = 0.01
"""Calibrations of one microscope differ by less."""


def check_given(
    particles: PreparedParticles, settings: RefinementSettings, *, volume: Volume | None, mask: Volume | None
) -> FilamentMask | None:
    """The static mask, if there is one; maps that do not fit the images or the settings are refused.

    Raises
    ------
    HelixLabError
        If a map does not lie on the images' grid, a mask is empty, or one is asked for and none given.
    """
    for name, given in (("volume", volume), ("mask", mask)):
        if given is not None and given.shape != 3 * (particles.box_px,):
            raise HelixLabError(
                f"{name}: found {given.shape} voxels for images of {particles.box_px} pixels; resample it to the "
                "images' box and pixel size."
            )
        if given is not None and abs(given.pixel_size_A / particles.pixel_size_A - 1) > _SAME_PIXEL:
            raise HelixLabError(
                f"{name}: found {given.pixel_size_A:.4g} Å per voxel for images of {particles.pixel_size_A:.4g} Å; "
                "resample it to the images' box and pixel size, or correct its header."
            )
    if settings.mask == "static" and mask is None:
        raise HelixLabError("mask: the settings ask for a static mask; give one, or set mask=dynamic.")
    return None if mask is None else static_mask(mask)


def init(
    particles: PreparedParticles,
    settings: RefinementSettings,
    *,
    volume: Volume | None = None,
    mask: FilamentMask | None = None,
) -> RefinementState:
    """The state before the first iteration.

    Parameters
    ----------
    particles : PreparedParticles
    settings : RefinementSettings
    volume : Volume, optional
        An initial model; default: made from the images or a cylinder, as the settings say.
    mask : FilamentMask, optional
        The static mask; default: made from the initial model.
    """
    noise, order = image_power(particles), symmetry_order(particles, settings, settings.symmetry)
    known_A, resolution_A, warning = settings.initial_lowpass_res_A, np.inf, ""
    if volume is None and not settings.use_cylindrical_model and settings.n_initial_models > 0:
        known_A = max(first_shared_res_A(settings), _KNOWN_A if settings.symmetry is None else GRID_RES_A)
        start = find_start(
            particles, settings, noise, order=order, resolution_A=GRID_RES_A, model_res_A=known_A, mask=mask
        )
        halves = start.model, start.model
        if start.has_agreed:
            resolution_A = known_A
        else:
            doubt = "" if settings.symmetry is None else "; or doubt the symmetry"
            warning = _NO_TWO_AGREE.format(start.n_models, start.agreement, doubt)
    else:
        halves = initial_model(particles, settings, noise, order=order, given=volume)
    mask = mask or dynamic_mask(mean_map(halves), settings)
    shell = particles.shell_of(known_A)
    return RefinementState(
        iteration=0,
        estimate=None if settings.symmetry is None else SymmetryEstimate(settings.symmetry),
        half_maps=halves,
        references=joined_references(halves, particles.last_shell, mask),
        mask=mask,
        noise_power=noise,
        poses=None,
        fsc=np.where(np.arange(particles.last_shell + 1) <= shell, _HOPE, FSC_FLOOR),
        align_shell=next_align_shell(particles, shell, particles.last_shell),
        resolution_A=resolution_A,
        start_warning=warning,
    )
