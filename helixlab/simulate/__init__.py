"""Simulated filaments: from atoms and a symmetry to a map (with noisy half maps) and to images of segments."""

from helixlab.simulate.atoms import AtomicUnit, fit_screw, read_atomic_unit
from helixlab.simulate.builtin import builtin_unit
from helixlab.simulate.density import default_b_factor_A2, density_on_grid
from helixlab.simulate.helix import SimulatedMap, simulate_helix
from helixlab.simulate.noise import HalfMapNoise, noise_for_fsc, signal_to_noise
from helixlab.simulate.output import simulation_parameters, write_simulation
from helixlab.simulate.particle_settings import OpticsSettings, ParticleSettings
from helixlab.simulate.particles import SimulatedParticles, simulate_particles, truth_values
from helixlab.simulate.screw import ScrewFit

__all__ = [
    "AtomicUnit",
    "HalfMapNoise",
    "OpticsSettings",
    "ParticleSettings",
    "ScrewFit",
    "SimulatedMap",
    "SimulatedParticles",
    "builtin_unit",
    "default_b_factor_A2",
    "density_on_grid",
    "fit_screw",
    "noise_for_fsc",
    "read_atomic_unit",
    "signal_to_noise",
    "simulate_helix",
    "simulate_particles",
    "simulation_parameters",
    "truth_values",
    "write_simulation",
]
