"""Files in and out: maps, image stacks, particle tables of RELION and CryoSPARC, and what any file holds."""

from helixlab.io.ctf_columns import ctf_columns
from helixlab.io.describe import describe_file
from helixlab.io.image_stacks import read_image_stack
from helixlab.io.images import BadImage, BadImagesError, ImageBatch, ImageSource, new_image_stack
from helixlab.io.maps import read_volume, write_volume
from helixlab.io.particles import OpticsGroups, ParticleStack, filament_direction_error_deg, new_particle_stack
from helixlab.io.star import read_star_table
from helixlab.io.tables import read_particles, write_particles

__all__ = [
    "BadImage",
    "BadImagesError",
    "ImageBatch",
    "ImageSource",
    "OpticsGroups",
    "ParticleStack",
    "ctf_columns",
    "describe_file",
    "filament_direction_error_deg",
    "new_image_stack",
    "new_particle_stack",
    "read_image_stack",
    "read_particles",
    "read_star_table",
    "read_volume",
    "write_particles",
    "write_volume",
]
