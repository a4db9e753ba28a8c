"""Tables of simulated segments: what a user has, and what is true."""

import dataclasses

import numpy as np

from helixlab.geometry import HelicalSymmetry
from helixlab.io import OpticsGroups, ParticleStack
from helixlab.simulate.filaments import Filament, Segments
from helixlab.simulate.micrographs import MICROGRAPH_PX, draw_ctf
from helixlab.simulate.particle_settings import ParticleSettings


def user_table(
    settings: ParticleSettings, filaments: list[Filament], picked: list[Segments], size_px: int
) -> ParticleStack:
    """What a user has of these segments: coordinates, CTF, priors.

    Parameters
    ----------
    settings : ParticleSettings
    filaments : list of Filament
    picked : list of Segments
        Of each filament.
    size_px : int
        Edge of the patch around each filament, which is put somewhere in its micrograph.

    Returns
    -------
    ParticleStack
        Images 0, 1, … of ``particles.mrcs``, filament by filament.
    """
    k, n = settings.segments_per_filament, settings.n_segments
    micrograph = np.repeat([f.micrograph for f in filaments], k)
    edge_px = max(size_px, MICROGRAPH_PX)
    middles = [
        np.random.default_rng([settings.seed, 4, f.number]).integers(size_px // 2, edge_px - size_px // 2 + 1, 2)
        for f in filaments
    ]
    centre_px = np.concatenate([m + s.centre_px for m, s in zip(middles, picked, strict=True)])
    optics = settings.optics
    groups = OpticsGroups(
        number=np.arange(1, len(optics) + 1),
        name=tuple(f"opticsGroup{g + 1}" for g in range(len(optics))),
        pixel_size_A=np.full(len(optics), settings.pixel_size_A),
        box_size_px=np.full(len(optics), settings.box_px),
        voltage_kV=np.array([o.voltage_kV for o in optics]),
        cs_mm=np.array([o.cs_mm for o in optics]),
        amplitude_contrast=np.array([o.amplitude_contrast for o in optics]),
    )
    table = ParticleStack(
        image_files=("particles.mrcs",),
        image_file=np.zeros(n, np.int64),
        image_index=np.arange(n),
        optics=groups,
        optics_group=np.repeat([f.optics for f in filaments], k),
        micrograph_names=tuple(f"micrographs/mic{m + 1:04d}.mrc" for m in range(filaments[-1].micrograph + 1)),
        micrograph=micrograph,
        coordinate_x_px=centre_px[:, 0],
        coordinate_y_px=centre_px[:, 1],
        filament_id=np.repeat(np.arange(len(filaments)), k),
        tilt_prior_deg=np.full(n, 90.0),
        psi_prior_deg=_joined(picked, "psi_prior_deg"),
        psi_flip_ratio=np.full(n, 0.5 if settings.flip_fraction > 0.0 else 0.0),
        track_length_A=_joined(picked, "track_A"),
        filament_length_A=np.full(n, settings.track_length_A),
        inter_box_distance_A=np.full(n, settings.inter_box_distance_A),
    )
    ctfs = [draw_ctf(f.micrograph, settings) for f in filaments]
    columns = ("defocus_u_A", "defocus_v_A", "defocus_angle_deg", "phase_shift_deg")
    ctf = {c: np.repeat([getattr(one, c)[0] for one in ctfs if one is not None], k) for c in columns}
    return table if settings.defocus_range_A is None else table.replace(**ctf)


def truth_table(
    particles: ParticleStack,
    settings: ParticleSettings,
    symmetry: HelicalSymmetry,
    filaments: list[Filament],
    picked: list[Segments],
) -> ParticleStack:
    """The user's table with true poses, B factors and symmetry, and half sets by filament.

    Parameters
    ----------
    particles : ParticleStack
        Made by :func:`user_table` from the rest.
    settings : ParticleSettings
    symmetry : HelicalSymmetry
    filaments : list of Filament
    picked : list of Segments

    Returns
    -------
    ParticleStack
    """
    n_groups = len(settings.optics)
    optics = dataclasses.replace(
        particles.optics,
        helical_twist_deg=np.full(n_groups, symmetry.twist_deg),
        helical_rise_A=np.full(n_groups, symmetry.rise_A),
    )
    shift_A = _joined(picked, "shift_A")
    bfactor_A2 = np.array([o.bfactor_A2 for o in settings.optics])[particles.optics_group]
    filament_id = np.repeat([f.number for f in filaments], settings.segments_per_filament)
    return particles.replace(
        optics=optics,
        rot_deg=_joined(picked, "rot_deg"),
        tilt_deg=_joined(picked, "tilt_deg"),
        psi_deg=_joined(picked, "psi_deg"),
        shift_x_A=shift_A[:, 0],
        shift_y_A=shift_A[:, 1],
        ctf_bfactor_A2=bfactor_A2,
        half_set=filament_id % 2 + 1,
    )


def _joined(picked: list[Segments], name: str) -> np.ndarray:
    return np.concatenate([getattr(segments, name) for segments in picked])
