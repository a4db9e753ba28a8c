"""The CTF of every particle as its table states it."""

import numpy as np
from jaxtyping import Float

from helixlab.errors import FileFormatError
from helixlab.io.column_map import in_files
from helixlab.io.particles import ParticleStack

_OPTIONAL = {
    "phase_shift_deg": ("phase_shift_deg", 0.0),
    "bfactor_A2": ("ctf_bfactor_A2", 0.0),
    "scale": ("ctf_scale", 1.0),
}
"""Columns that tables may leave out, and what that means."""


def ctf_columns(stack: ParticleStack) -> dict[str, Float[np.ndarray, "n"]]:
    """What the CTF of each particle depends on, the optics groups' values repeated.

    Parameters
    ----------
    stack : ParticleStack

    Returns
    -------
    dict of float64 arrays, shape (n,)
        The fields of ``helixlab.kernels.ctf.CtfParameters``, by name.

    Raises
    ------
    HelixLabError
        If the table lacks a column that the CTF needs.
    FileFormatError
        If a row has no number for it; the first such row is named.

    Examples
    --------
    >>> from helixlab.io import new_particle_stack
    >>> ctf_columns(new_particle_stack(["a.mrcs"], [0], [0], 1.0, 64))
    Traceback (most recent call last):
        ...
    helixlab.errors.HelixLabError: particles: the column _rlnDefocusU ...
    """
    per_row, per_group = (
        ("defocus_u_A", "defocus_v_A", "defocus_angle_deg"),
        ("voltage_kV", "cs_mm", "amplitude_contrast"),
    )
    stack.require(*per_row)
    columns = {name: getattr(stack, name) for name in per_row}
    for name in per_group:
        values = getattr(stack.optics, name)
        if values is None:
            raise FileFormatError(
                f"{stack.source.path or 'particles'}: the column {in_files(name)} of the optics groups is missing. Use "
                f"a table that has it{stack.passthrough_hint}."
            )
        columns[name] = values[stack.optics_group]
    for name, (column, default) in _OPTIONAL.items():
        values = getattr(stack, column)
        columns[name] = np.full(len(stack), default) if values is None else values
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            label = in_files(_OPTIONAL.get(name, (name,))[0])
            raise FileFormatError(
                f"{stack.source.path or 'particles'}: row {bad[0] + 1} ({bad.size} in all) has no {label}; leave these "
                "rows out or estimate their CTF."
            )
    return {name: np.asarray(values, np.float64) for name, values in columns.items()}
