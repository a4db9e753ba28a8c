"""Which column of RELION and which of CryoSPARC hold which of HelixLab's quantities: stated here, used everywhere.

The rule for numbers is linear, ``RELION value = scale · CryoSPARC value + offset``; HelixLab uses RELION's value and
unit. What cannot be said so is named by ``rule`` and done once in each direction:

- image: ``_rlnImageName`` "000001@file" (counted from 1) ↔ ``blob/path`` and ``blob/idx`` (counted from 0);
- pose: (rot, tilt, psi) ↔ ``alignments3D/pose``, a rotation vector; psi alone ↔ ``alignments2D/pose``
  (:mod:`helixlab.geometry.pose`);
- shift: Å ↔ ``alignments3D/shift`` in pixels × ``alignments3D/psize_A``, with the same sign;
- coordinate: pixels of the micrograph ↔ ``location/center_x_frac`` × the width in ``location/micrograph_shape``
  (height, width), no flip;
- filament: ``_rlnHelicalTubeID`` counts within a micrograph, ``filament/filament_uid`` is unique everywhere;
- psi prior: 90° − ``filament/filament_pose``. CryoSPARC counts from a vertical filament (its templates are vertical),
  RELION from a horizontal one. pyem converts in this way (its authors compared with refined psi); Helicon leaves out
  the 90°. No table with filament columns was at hand to check it; :func:`helixlab.io.filament_direction_error_deg`
  checks it on the user's own table, against the direction in which its boxes follow each other.
- track length ↔ ``filament/position_A``, the place of the segment; ``filament/arc_length_A`` is the length of the
  whole filament.

CryoSPARC has no columns for the tilt prior and the flip ratio: these travel as text, like unknown columns.
"""

import math
from dataclasses import dataclass
from typing import Literal

_DEG = 180.0 / math.pi


@dataclass(frozen=True)
class Column:
    """One quantity and its names.

    Parameters
    ----------
    name : str
        Field of ParticleStack, or of OpticsGroups for those of a group.
    unit : str
        "deg", "A", "px", ... as in RELION and HelixLab.
    star : str or None
        RELION's label since 3.1.
    cs : str or None
        CryoSPARC's field; ``{a}`` stands for alignments3D or alignments2D.
    scale, offset : float
        RELION value = scale · CryoSPARC value + offset.
    rule : str
        "linear", or which of the rules above.
    per : str
        "particle" or "group": in RELION 3.0 files groups do not exist and all columns are per particle.
    star_legacy : str or None
        The label up to RELION 3.0 where it was another (its shifts are in pixels).
    is_integer : bool
        Whether it counts something.
    since : str
        The first RELION version that writes it.
    """

    name: str
    unit: str
    star: str | None
    cs: str | None
    scale: float = 1.0
    offset: float = 0.0
    rule: Literal["linear", "pose", "shift", "coordinate"] = "linear"
    per: Literal["particle", "group"] = "particle"
    star_legacy: str | None = None
    is_integer: bool = False
    since: str = "1.0"

    def label(self, is_legacy: bool) -> str | None:
        """RELION's label in a file of this kind."""
        return self.star_legacy if is_legacy and self.star_legacy else self.star


COLUMNS = (
    # the micrograph
    Column("coordinate_x_px", "px", "_rlnCoordinateX", "location/center_x_frac", rule="coordinate"),
    Column("coordinate_y_px", "px", "_rlnCoordinateY", "location/center_y_frac", rule="coordinate"),
    # the filament
    Column("tilt_prior_deg", "deg", "_rlnAngleTiltPrior", None, since="2.0"),
    Column("psi_prior_deg", "deg", "_rlnAnglePsiPrior", "filament/filament_pose", -_DEG, 90.0, since="2.0"),
    Column("psi_flip_ratio", "", "_rlnAnglePsiFlipRatio", None, since="2.0"),
    Column("track_length_A", "A", "_rlnHelicalTrackLengthAngst", "filament/position_A", since="3.1"),
    Column("filament_length_A", "A", None, "filament/arc_length_A"),
    Column("inter_box_distance_A", "A", None, "filament/inter_box_dist_A"),
    # the CTF
    Column("defocus_u_A", "A", "_rlnDefocusU", "ctf/df1_A"),
    Column("defocus_v_A", "A", "_rlnDefocusV", "ctf/df2_A"),
    Column("defocus_angle_deg", "deg", "_rlnDefocusAngle", "ctf/df_angle_rad", _DEG),
    Column("phase_shift_deg", "deg", "_rlnPhaseShift", "ctf/phase_shift_rad", _DEG, since="2.0"),
    Column("ctf_bfactor_A2", "A2", "_rlnCtfBfactor", "ctf/bfactor"),
    Column("ctf_scale", "", "_rlnCtfScalefactor", "ctf/scale"),
    # the pose
    Column("rot_deg", "deg", "_rlnAngleRot", "alignments3D/pose", rule="pose"),
    Column("tilt_deg", "deg", "_rlnAngleTilt", "alignments3D/pose", rule="pose"),
    Column("psi_deg", "deg", "_rlnAnglePsi", "{a}/pose", rule="pose"),
    Column("shift_x_A", "A", "_rlnOriginXAngst", "{a}/shift", rule="shift", star_legacy="_rlnOriginX", since="3.1"),
    Column("shift_y_A", "A", "_rlnOriginYAngst", "{a}/shift", rule="shift", star_legacy="_rlnOriginY", since="3.1"),
    Column("class_number", "", "_rlnClassNumber", "{a}/class", offset=1, is_integer=True),
    Column("half_set", "", "_rlnRandomSubset", "{a}/split", offset=1, is_integer=True, since="1.3"),
    # optics groups
    Column("voltage_kV", "kV", "_rlnVoltage", "ctf/accel_kv", per="group"),
    Column("cs_mm", "mm", "_rlnSphericalAberration", "ctf/cs_mm", per="group"),
    Column("amplitude_contrast", "", "_rlnAmplitudeContrast", "ctf/amp_contrast", per="group"),
    Column("helical_twist_deg", "deg", "_rlnHelicalTwist", None, per="group", since="2.0"),
    Column("helical_rise_A", "A", "_rlnHelicalRise", None, per="group", since="2.0"),
)
"""Every quantity that is one number per particle or group; sizes, images and names have their own rules."""

PARTICLE_COLUMNS = tuple(c for c in COLUMNS if c.per == "particle")
GROUP_COLUMNS = tuple(c for c in COLUMNS if c.per == "group")
_NUMBERED_APART = (
    Column("micrograph", "", "_rlnMicrographName", "location/micrograph_path"),
    Column("filament_id", "", "_rlnHelicalTubeID", "filament/filament_uid", is_integer=True),
)
BY_NAME = {c.name: c for c in (*COLUMNS, *_NUMBERED_APART)}


def in_files(name: str) -> str:
    """What a message calls a quantity of a table: RELION's label and, in brackets, CryoSPARC's.

    Examples
    --------
    >>> in_files("psi_prior_deg"), in_files("tilt_prior_deg"), in_files("inter_box_distance_A")
    ('_rlnAnglePsiPrior (filament/filament_pose)', '_rlnAngleTiltPrior', 'filament/inter_box_dist_A')
    """
    star, cs = BY_NAME[name].star, (BY_NAME[name].cs or "").format(a="alignments3D")
    return f"{star} ({cs})" if star and cs else star or cs


READ_TOLERANCE = {"deg": 1e-4, "px": 1e-3}
"""Differences that float32 radians and fractions of a micrograph make by themselves; else 1e-6 of the value."""

TEXT_TOLERANCE = 1e-6
"""Numbers are written to STAR with six decimals, as RELION does."""
