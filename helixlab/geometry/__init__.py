"""Conventions, symmetry, lattice and grids: plain numbers, no maps."""

from helixlab.geometry.grids import axis_coordinates
from helixlab.geometry.lattice import (
    IndexedLattice,
    LayerLine,
    first_maximum_per_A,
    indexed_lattice,
    lattice_points,
    layer_lines,
    symmetry_through,
    symmetry_with_layer_line,
)
from helixlab.geometry.pose import (
    cryosparc_to_relion_pose,
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_rotation_vector,
    relion_to_cryosparc_pose,
    rotation_vector_to_matrix,
)
from helixlab.geometry.symmetry import HelicalSymmetry, parse_point_group, rotation_about_z, wrap_deg
from helixlab.geometry.volume import Volume

__all__ = [
    "HelicalSymmetry",
    "IndexedLattice",
    "LayerLine",
    "Volume",
    "axis_coordinates",
    "cryosparc_to_relion_pose",
    "euler_to_matrix",
    "first_maximum_per_A",
    "indexed_lattice",
    "lattice_points",
    "layer_lines",
    "matrix_to_euler",
    "matrix_to_rotation_vector",
    "parse_point_group",
    "relion_to_cryosparc_pose",
    "rotation_about_z",
    "rotation_vector_to_matrix",
    "symmetry_through",
    "symmetry_with_layer_line",
    "wrap_deg",
]
