"""Conventions, symmetry, lattice and grids: plain numbers, no maps."""

from helixlab.geometry.grids import axis_coordinates
from helixlab.geometry.lattice import LayerLine, lattice_points, layer_lines
from helixlab.geometry.symmetry import HelicalSymmetry, parse_point_group, rotation_about_z, wrap_deg
from helixlab.geometry.volume import Volume

__all__ = [
    "HelicalSymmetry",
    "LayerLine",
    "Volume",
    "axis_coordinates",
    "lattice_points",
    "layer_lines",
    "parse_point_group",
    "rotation_about_z",
    "wrap_deg",
]
