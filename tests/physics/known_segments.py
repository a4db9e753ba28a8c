"""Segments of a known helix that several tests refine, and their true poses."""

from pathlib import Path

import numpy as np

from helixlab.geometry import HelicalSymmetry
from helixlab.io import ParticleStack
from helixlab.reconstruct.poses import Poses
from helixlab.reconstruct.prepare import PreparedParticles
from helixlab.simulate import OpticsSettings, ParticleSettings, SimulatedParticles, simulate_particles

TRUTH = HelicalSymmetry(-101.1, 5.13)


def simulate_segments(folder: Path, *, snr: float) -> SimulatedParticles:
    """240 segments of 24 filaments, box 48."""
    settings = ParticleSettings(
        n_filaments=24,
        segments_per_filament=10,
        box_px=48,
        pixel_size_A=4.0,
        inter_box_distance_A=30.0,
        optics=(OpticsSettings(snr=snr),),
        seed=3,
    )
    return simulate_particles("builtin", TRUTH, folder, settings)


def true_poses(truth: ParticleStack, particles: PreparedParticles) -> Poses:
    """In the frames, which are turned by the psi priors or by their opposites."""
    assert truth.rot_deg is not None
    assert truth.tilt_deg is not None
    assert truth.psi_deg is not None
    assert truth.shift_x_A is not None
    assert truth.shift_y_A is not None
    left = (truth.psi_deg - particles.psi_prior_deg + 180) % 360 - 180
    is_flipped = np.abs(left) > 90
    frame_rad = np.deg2rad(particles.psi_prior_deg + 180 * is_flipped)
    x, y = truth.shift_x_A / particles.pixel_size_A, truth.shift_y_A / particles.pixel_size_A
    cos, sin = np.cos(frame_rad), np.sin(frame_rad)
    shifts = np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
    angles = np.stack([truth.rot_deg, truth.tilt_deg, (left + 90 + 180 * is_flipped) % 360 - 90], axis=1)
    return Poses(np.arange(len(truth)), is_flipped, angles, shifts, np.ones(len(truth)))
