"""Scores of dyads across the helical axis."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from helixlab.kernels.correlate import read_line, read_plane


@jax.jit
def score_dyads(
    plane: Float[Array, "lag_z lag_phi"],
    energy: Float[Array, "lag_z"],
    phi_deg: Float[Array, "n"],
    z: Float[Array, "n"],
    twist_deg: Float[Array, ""],
    rise: Float[Array, ""],
    n_steps: Int[Array, ""],
) -> Float[Array, "n"]:
    """Mean correlation over a dyad and the others that a screw makes of it.

    Parameters
    ----------
    plane, energy
        From :func:`~helixlab.kernels.correlate.correlate_dyad` and ``dyad_energy``.
    phi_deg, z
        Peak positions (2φ₀ in degrees, 2z₀ in lag samples).
    twist_deg, rise
        The screw, rise in lag samples.
    n_steps
        Dyads each way.
    """

    def add(i: Array, total: tuple[Array, Array]) -> tuple[Array, Array]:
        k = (i - n_steps).astype(jnp.float32)
        height = z + k * rise
        inside = (height >= 0) & (height <= plane.shape[0] - 1)
        product = jnp.where(inside, read_plane(plane, phi_deg + k * twist_deg, height), 0.0)
        return total[0] + product, total[1] + jnp.where(inside, read_line(energy, height), 0.0)

    zeros = jnp.zeros_like(z)
    product, weight = jax.lax.fori_loop(0, 2 * n_steps + 1, add, (zeros, zeros))
    return product / jnp.maximum(weight, 1e-30)
