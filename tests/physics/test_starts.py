"""From random azimuths to a first model: of few and large subunits, and with dyads."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from helixlab.geometry import HelicalSymmetry
from helixlab.io import read_particles
from helixlab.kernels.fourier import low_pass
from helixlab.reconstruct import RefinementSettings
from helixlab.reconstruct.noise import image_power
from helixlab.reconstruct.prepare import prepare_particles
from helixlab.reconstruct.starts import find_start
from helixlab.reconstruct.superposition import model_waves, superposed_correlation
from helixlab.simulate import OpticsSettings, ParticleSettings, simulate_particles

RESOLUTION_A, RADIUS_A = 15.0, 60.0


@pytest.mark.parametrize("symmetry", [HelicalSymmetry(50.0, 14.0, "D1"), HelicalSymmetry(80.0, 27.0)], ids=str)
def test_a_start_holds_the_molecule(symmetry: HelicalSymmetry, tmp_path: Path) -> None:
    # Segments one or two rises apart: what they add to each other's view is little.
    settings = ParticleSettings(
        n_filaments=15,
        segments_per_filament=20,
        box_px=48,
        pixel_size_A=4.0,
        inter_box_distance_A=28.0,
        optics=(OpticsSettings(snr=0.3),),
    )
    made = simulate_particles("builtin", symmetry, tmp_path / "segments", settings)
    wanted = RefinementSettings(
        twist_deg=symmetry.twist_deg, rise_A=symmetry.rise_A, point_group=symmetry.point_group, n_initial_models=8
    )
    particles = prepare_particles(read_particles(made.files["star"]), wanted)
    start = find_start(particles, wanted, image_power(particles), order=1, resolution_A=12.0, model_res_A=RESOLUTION_A)
    assert start.has_agreed
    reference = made.reference
    smooth = np.asarray(low_pass(jnp.asarray(reference.data), reference.pixel_size_A / RESOLUTION_A))
    waves = [model_waves(map_, RADIUS_A, RESOLUTION_A) for map_ in (start.model, reference.with_data(smooth))]
    # Noise and mixed azimuths take 0.05 to 0.15 of it. With a dyad in the wrong place, or copies left out, it is 0.5 to
    # 0.75.
    assert superposed_correlation(*waves, symmetry.rise_A) > 0.8
