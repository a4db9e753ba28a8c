"""Dn: is there a dyad across the helical axis?"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from helixlab.geometry import HelicalSymmetry
from helixlab.kernels.correlate import Correlation, correlate_dyad, dyad_energy
from helixlab.kernels.dyads import score_dyads
from helixlab.kernels.lags import fold
from helixlab.search.filament import Filament


@dataclass(frozen=True)
class DyadFit:
    """The best dyad of a filament.

    Parameters
    ----------
    azimuth_deg : float
        Direction of the dyad axis from +x towards +y, in [0°, 180°/n).
    z_A : float
        Height from the centre of the box, within a quarter of the rise.
    score : float
        Mean correlation of the map with itself turned about this dyad and all those that the screw makes of it.
    """

    azimuth_deg: float
    z_A: float
    score: float


def find_dyad(filament: Filament, symmetry: HelicalSymmetry) -> DyadFit:
    """The dyad about which the map lies best on itself, under the screw and Cn of ``symmetry``."""
    plane, energy = _dyad_splines(filament, symmetry.cyclic_order)
    step_A = float(filament.correlation.z_step_A)
    middle = 2.0 * (len(filament.window) // 2) * filament.pixel_size_A / step_A
    rise = symmetry.rise_A / step_A
    period = 360.0 / symmetry.cyclic_order
    n_steps = max(1, int(0.5 * filament.max_lag_A / symmetry.rise_A))

    def scores(phi_deg: np.ndarray, z: np.ndarray, steps: int) -> np.ndarray:
        return np.asarray(
            score_dyads(
                plane,
                energy,
                jnp.asarray(phi_deg.ravel(), jnp.float32),
                jnp.asarray(z.ravel(), jnp.float32),
                jnp.float32(symmetry.twist_deg),
                jnp.float32(rise),
                jnp.int32(steps),
            )
        )

    # A sixth of the resolution between points; a peak is half the resolution wide.
    near_A = filament.resolution_A / 6.0
    phi_step = float(np.rad2deg(near_A / float(filament.limits.radius_A)))
    n_phi, n_z = max(16, int(period / phi_step)), max(3, int(symmetry.rise_A / near_A))
    phi_deg, z = np.meshgrid(
        np.arange(n_phi) * (period / n_phi), middle + (np.arange(n_z) / n_z - 0.5) * rise, indexing="ij"
    )
    best = int(np.argmax(scores(phi_deg, z, min(n_steps, 8))))
    phi, height = float(phi_deg.ravel()[best]), float(z.ravel()[best])
    width_phi, width_z = period / n_phi, max(rise / n_z, near_A / step_A)
    grid = np.linspace(-1.0, 1.0, 9)
    score = -1.0
    for _ in range(6):
        near_phi, near_z = np.meshgrid(phi + width_phi * grid, height + width_z * grid, indexing="ij")
        values = scores(near_phi, near_z, n_steps)
        best = int(np.argmax(values))
        phi, height, score = float(near_phi.ravel()[best]), float(near_z.ravel()[best]), float(values[best])
        width_phi, width_z = width_phi / 3, width_z / 3
    # The dyad nearest to the centre: a screw step moves the peak by twist and rise, the dyad by half of either.
    steps = round((height - middle) / rise)
    phi, height = phi - steps * symmetry.twist_deg, height - steps * rise
    return DyadFit((phi / 2) % (period / 2), (height - middle) * step_A / 2, score)


def _dyad_splines(filament: Filament, order: int) -> tuple[jnp.ndarray, jnp.ndarray]:
    first, last = filament.cylinders[0], filament.cylinders[-1]
    plane = correlate_dyad(
        first, last, jnp.asarray(filament.radius_px, jnp.float32), jnp.asarray(filament.window), n_phi=filament.n_phi
    )
    if order > 1:
        dyads: Correlation = filament.correlation._replace(product=plane)
        plane = fold(dyads, jnp.float32(order)).product
    return plane, dyad_energy(filament.correlation.section_energy)
