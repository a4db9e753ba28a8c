"""Filaments as curves in a micrograph, and where their segments are picked: numbers only, no image.

A filament's trace is an arc of a circle in the image plane; u is the length along it from its middle, in the direction
of the helix's +z, and v the distance to the right of it, as the array shows it with y downwards: (cos α, sin α) is the
direction of +z and (sin α, −cos α) that of v. RELION's psi is 180° − α (:mod:`helixlab.geometry.pose`). The tilt
changes at a constant rate along u, so that the length along the helical axis is s(u) = ∫ du / sin(tilt).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from helixlab.geometry import HelicalSymmetry
from helixlab.simulate.particle_settings import ParticleSettings

_A_PER_UM = 1e4
_MAX_SDS = 3.0
"""Normal deviates of tilts and bends are kept within this, so that what a projection needs is bounded."""


@dataclass(frozen=True)
class Filament:
    """One filament: its curve, its tilt and its helix's azimuth.

    Parameters
    ----------
    number, micrograph, optics : int
        Positions in the lists of filaments, micrographs and optics groups, from 0.
    direction_deg : float
        α of +z at u = 0, from +x towards +y.
    bend_deg_per_A : float
        Change of α along u.
    tilt_deg, tilt_rate_deg_per_A : float
        Tilt at u = 0, and its change along u.
    rot_deg : float
        RELION's rot of the reference that sits at u = 0.
    is_flipped : bool
        Whether it is traced against +z, so that the psi prior is off by 180°.
    """

    number: int
    micrograph: int
    optics: int
    direction_deg: float
    bend_deg_per_A: float
    tilt_deg: float
    tilt_rate_deg_per_A: float
    rot_deg: float
    is_flipped: bool

    def direction_rad(self, u_A: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """α at u."""
        return np.deg2rad(self.direction_deg + self.bend_deg_per_A * u_A)

    def tilt_deg_at(self, u_A: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Tilt at u, degrees."""
        return self.tilt_deg + self.tilt_rate_deg_per_A * u_A

    def axis_length_A(self, u_A: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """s(u), the length along the helical axis: the integral of 1/cos(tilt − 90°) in closed form."""
        lean = math.radians(self.tilt_deg - 90.0)
        rate = math.radians(self.tilt_rate_deg_per_A)
        if rate == 0.0:
            return u_A / math.cos(lean)
        return (np.arctanh(np.sin(lean + rate * u_A)) - math.atanh(math.sin(lean))) / rate

    def point_A(self, u_A: Float[np.ndarray, "n"], v_A: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 2"]:
        """(x, y) of points given along and across the curve."""
        chord = u_A * np.sinc(np.deg2rad(self.bend_deg_per_A * u_A) / (2 * np.pi))
        chord_rad, here_rad = self.direction_rad(0.5 * u_A), self.direction_rad(u_A)
        x = chord * np.cos(chord_rad) + v_A * np.sin(here_rad)
        y = chord * np.sin(chord_rad) - v_A * np.cos(here_rad)
        return np.stack([x, y], -1)

    def along_and_across_A(
        self, x_A: Float[np.ndarray, "n"], y_A: Float[np.ndarray, "n"]
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """(u, v) of points of the plane nearer to the curve than the centre of its circle."""
        angle, bend = math.radians(self.direction_deg), math.radians(self.bend_deg_per_A)
        ahead = x_A * math.cos(angle) + y_A * math.sin(angle)
        left = y_A * math.cos(angle) - x_A * math.sin(angle)
        # Distance from the circle's centre in units of its radius, written so that bend → 0 loses no digits.
        relative = np.hypot(1.0 - bend * left, bend * ahead)
        v_A = (bend * (ahead**2 + left**2) - 2.0 * left) / (1.0 + relative)
        return (np.arctan2(bend * ahead, 1.0 - bend * left) / bend if bend else ahead), v_A


@dataclass(frozen=True, eq=False)
class Segments:
    """The boxes of one filament in the order of its trace, and their true poses; arrays of shape (n,).

    Parameters
    ----------
    track_A : array
        Nominal place along the trace, from 0.
    centre_px : int array, shape (n, 2)
        (x, y) of the box's centre, whole pixels from the filament's middle.
    rot_deg, tilt_deg, psi_deg : array
        Of the reference within half a rise of the box's centre.
    shift_A : array, shape (n, 2)
        RELION's rlnOriginX/YAngst: the reference's centre lies at minus this.
    psi_prior_deg : array
        From the trace's direction, with its error.
    """

    track_A: Float[np.ndarray, "n"]
    centre_px: Float[np.ndarray, "n 2"]
    rot_deg: Float[np.ndarray, "n"]
    tilt_deg: Float[np.ndarray, "n"]
    psi_deg: Float[np.ndarray, "n"]
    shift_A: Float[np.ndarray, "n 2"]
    psi_prior_deg: Float[np.ndarray, "n"]


def draw_filament(number: int, settings: ParticleSettings) -> Filament:
    """The filament of this number: independent of how many others there are.

    Examples
    --------
    >>> draw_filament(3, ParticleSettings(filaments_per_micrograph=2)).micrograph
    1
    """
    rng = np.random.default_rng([settings.seed, 0, number])
    micrograph = number // settings.filaments_per_micrograph
    bend, tilt, tilt_bend = np.clip(rng.standard_normal(3), -_MAX_SDS, _MAX_SDS)
    psi_deg = settings.psi_spread_deg * rng.uniform(-1.0, 1.0)
    return Filament(
        number=number,
        micrograph=micrograph,
        optics=micrograph % len(settings.optics),
        direction_deg=180.0 - psi_deg,
        bend_deg_per_A=float(bend) * settings.bend_deg_per_um / _A_PER_UM,
        tilt_deg=90.0 + float(tilt) * settings.tilt_sd_deg,
        tilt_rate_deg_per_A=float(tilt_bend) * settings.tilt_bend_deg_per_um / _A_PER_UM,
        rot_deg=float(rng.uniform(-180.0, 180.0)),
        is_flipped=bool(rng.random() < settings.flip_fraction),
    )


def pick_segments(filament: Filament, symmetry: HelicalSymmetry, settings: ParticleSettings) -> Segments:
    """Boxes at equal distances along the trace, with picking errors, centred on whole pixels.

    Notes
    -----
    The helix has its subunits' reference at s = 0 with the filament's rot. m subunits further it has the same density
    turned by m·twist, which is a reference at s = m·rise with rot − m·twist: m is that of the reference nearest to the
    box's centre. Its psi and tilt are those of the curve where it sits.
    """
    rng = np.random.default_rng([settings.seed, 1, filament.number])
    n = settings.segments_per_filament
    track_A = np.arange(n) * settings.inter_box_distance_A
    forward = -1.0 if filament.is_flipped else 1.0
    along, across, prior = rng.standard_normal((3, n))
    u_A = forward * (track_A - 0.5 * settings.track_length_A) + settings.shift_along_sd_A * along
    picked_A = filament.point_A(u_A, settings.shift_across_sd_A * across)
    centre_px = np.rint(picked_A / settings.pixel_size_A)
    centre_A = centre_px * settings.pixel_size_A

    # The reference nearest to the box's centre.
    u_A, _ = filament.along_and_across_A(centre_A[:, 0], centre_A[:, 1])
    s_A = filament.axis_length_A(u_A)
    m = np.rint(s_A / symmetry.rise_A)
    u_A = u_A + (m * symmetry.rise_A - s_A) * np.sin(np.deg2rad(filament.tilt_deg_at(u_A)))

    psi_deg = 180.0 - np.rad2deg(filament.direction_rad(u_A))
    traced_deg = psi_deg + (180.0 if filament.is_flipped else 0.0)
    return Segments(
        track_A=track_A,
        centre_px=centre_px,
        rot_deg=_wrap(filament.rot_deg - m * symmetry.twist_deg),
        tilt_deg=filament.tilt_deg_at(u_A),
        psi_deg=_wrap(psi_deg),
        shift_A=centre_A - filament.point_A(u_A, np.zeros(n)),
        psi_prior_deg=_wrap(traced_deg + settings.psi_prior_sd_deg * prior),
    )


def lean_deg(filament: Filament, half_length_A: float) -> float:
    """How far the tilt gets from 90° up to this far from the filament's middle."""
    return abs(filament.tilt_deg - 90.0) + abs(filament.tilt_rate_deg_per_A) * half_length_A


def _wrap(angle_deg: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Into [−180°, 180°)."""
    return (angle_deg + 180.0) % 360.0 - 180.0
