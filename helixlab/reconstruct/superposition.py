"""How alike two models are, wherever the filament lies in them and whichever way it points.

Models made apart know neither of each other's azimuth and height nor of their polarity. On cylinders, turns and shifts
along the axis are shifts of both coordinates: one product of Fourier transforms gives the correlation for all of them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex

from helixlab.geometry import Volume
from helixlab.kernels.interpolate import sample_cylinders


class Waves(NamedTuple):
    """A model on cylinders, without its round part, which all filaments share."""

    values: Complex[np.ndarray, "r m kz"]
    """Transform over φ and z, padded to twice the height."""
    energy: float
    height_A: float


def model_waves(model: Volume, outer_radius_A: float, resolution_A: float) -> Waves:
    """A model as :func:`superposed_correlation` compares it.

    Parameters
    ----------
    model : Volume
    outer_radius_A : float
        Density farther from the axis is left out.
    resolution_A : float
        Of the model: cylinders lie a quarter of it apart.
    """
    pixel_A, box = model.pixel_size_A, model.shape[1]
    last_px = min(outer_radius_A / pixel_A, box / 2 - 1.0)
    step_px = max(1.0, resolution_A / (4 * pixel_A))
    radius_px = np.arange(step_px, last_px + step_px / 2, step_px).clip(max=last_px)
    n_phi = 4 * int(np.ceil(2 * np.pi * last_px / step_px / 4))
    cylinders = np.asarray(sample_cylinders(model.data, radius_px, n_phi)) * np.sqrt(radius_px)[:, None, None]
    uneven = cylinders - cylinders.mean(axis=1, keepdims=True)
    padded = np.pad(uneven, ((0, 0), (0, 0), (0, uneven.shape[2])))
    return Waves(np.fft.fft2(padded, axes=(1, 2)), float(np.sum(uneven**2)), model.extent_A[0])


def superposed_correlation(one: Waves, two: Waves, rise_A: float) -> float:
    """Correlation of two models, one turned, shifted by up to half a rise and upside down as fits best.

    Parameters
    ----------
    one, two : Waves
        Of models on one grid.
    rise_A : float
        Farther shifts repeat another turn.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> model = Volume(rng.normal(size=(12, 12, 12)).astype(np.float32), 4.0)
    >>> waves = model_waves(model, 20.0, 16.0)
    >>> round(superposed_correlation(waves, waves, 8.0), 3)
    1.0
    """
    n_z = one.values.shape[2] // 2
    reach = min(max(1, int(np.ceil(rise_A / 2 / (one.height_A / n_z)))), n_z // 2)
    lags = np.arange(-reach, reach + 1)
    # Upside down, angles and heights run backwards: the conjugate transform, about the middle section.
    upright, inverted = (np.fft.ifft2(np.sum(a * two.values, axis=0)).real for a in (np.conj(one.values), one.values))
    highest = max(upright[:, lags].max(), inverted[:, 2 * (n_z // 2) + lags].max())
    return float(highest / max(np.sqrt(one.energy * two.energy), 1e-30))
