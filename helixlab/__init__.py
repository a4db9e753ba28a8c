"""HelixLab: interactive helical reconstruction for cryo-EM.

The names below load when they are first used: ``import helixlab`` alone is quick.

Examples
--------
>>> import helixlab as hl
>>> hl.HelicalSymmetry(29.4, 21.8, "C6") == hl.HelicalSymmetry(-30.6, 21.8, "C6")
True
"""

from importlib import import_module
from importlib.metadata import version as _installed_version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helixlab import examples
    from helixlab.errors import FileFormatError, HelixLabError
    from helixlab.explore import FilamentMap
    from helixlab.geometry import HelicalSymmetry, Volume
    from helixlab.io import ParticleStack, read_particles, read_volume, write_particles, write_volume
    from helixlab.kernels.symmetrize import impose_symmetry
    from helixlab.search import SearchResult, SearchSettings, align_axis, audit_symmetry, search_symmetry
    from helixlab.simulate import simulate_helix
    from helixlab.validate import FSCResult, compute_fsc

__version__ = _installed_version("helixlab")

_HOME = {
    "examples": "helixlab.examples",
    "FileFormatError": "helixlab.errors",
    "HelixLabError": "helixlab.errors",
    "FilamentMap": "helixlab.explore",
    "HelicalSymmetry": "helixlab.geometry",
    "Volume": "helixlab.geometry",
    "ParticleStack": "helixlab.io",
    "read_particles": "helixlab.io",
    "read_volume": "helixlab.io",
    "write_particles": "helixlab.io",
    "write_volume": "helixlab.io",
    "impose_symmetry": "helixlab.kernels.symmetrize",
    "SearchResult": "helixlab.search",
    "SearchSettings": "helixlab.search",
    "align_axis": "helixlab.search",
    "audit_symmetry": "helixlab.search",
    "search_symmetry": "helixlab.search",
    "simulate_helix": "helixlab.simulate",
    "FSCResult": "helixlab.validate",
    "compute_fsc": "helixlab.validate",
}

__all__ = [
    "FSCResult",
    "FilamentMap",
    "FileFormatError",
    "HelicalSymmetry",
    "HelixLabError",
    "ParticleStack",
    "SearchResult",
    "SearchSettings",
    "Volume",
    "align_axis",
    "audit_symmetry",
    "compute_fsc",
    "examples",
    "impose_symmetry",
    "read_particles",
    "read_volume",
    "search_symmetry",
    "simulate_helix",
    "write_particles",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'helixlab' has no attribute {name!r}")
    module = import_module(_HOME[name])
    value = module if name == "examples" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
