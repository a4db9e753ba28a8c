"""The filaments that are measured, made once per run and passed on as files."""

import os
from dataclasses import dataclass
from pathlib import Path

from helixlab.geometry import HelicalSymmetry
from helixlab.io import write_volume
from helixlab.simulate import simulate_helix


@dataclass(frozen=True)
class Filament:
    """A symmetry to be found again, and where its density lies."""

    name: str
    twist_deg: float
    rise_A: float
    point_group: str = "C1"
    outer_radius_A: float = 46.0
    model: str = "builtin"
    pixel_size_A: float = 2.0

    @property
    def symmetry(self) -> HelicalSymmetry:
        return HelicalSymmetry(self.twist_deg, self.rise_A, self.point_group)


DENSE = Filament("one-start, 5.13 Å", -101.1, 5.13)
RINGS = Filament("C6 rings, 21.8 Å", 29.4, 21.8, "C6")
FINE = Filament("one-start, 1.408 Å", 22.03, 1.408)
NEAR_21 = Filament("near 2₁, 4.75 Å", 179.4, 4.75)


def filaments() -> list[Filament]:
    """The built-in filaments, and tobacco mosaic virus where HELIXLAB_DATA holds the model 4UDV."""
    found = [DENSE, RINGS, FINE, NEAR_21]
    model = Path(os.environ.get("HELIXLAB_DATA", "")) / "models" / "4udv.pdb"
    if "HELIXLAB_DATA" in os.environ and model.is_file():
        found.append(Filament("4UDV (TMV)", 22.03, 1.408, outer_radius_A=96.0, model=str(model)))
    return found


def make_maps(
    folder: Path, filament: Filament, box: int, *, fsc_resolution_A: float | None = None, seed: int = 0
) -> dict[str, str]:
    """Paths of ``map``, and with noise of ``half1`` and ``half2``; made only if they are not there yet.

    With ``fsc_resolution_A`` the half maps' FSC is expected to fall below 0.143 there.
    """
    key = f"{Path(filament.model).stem}{filament.symmetry}-{box}-{fsc_resolution_A}-{seed}".replace(" ", "")
    names = ["map", "half1", "half2"] if fsc_resolution_A else ["map"]
    paths = {name: folder / f"{key}-{name}.mrc" for name in names}
    if not all(path.is_file() for path in paths.values()):
        made = simulate_helix(
            filament.model,
            filament.symmetry,
            box=box,
            pixel_size_A=filament.pixel_size_A,
            resolution_A=2.5 * filament.pixel_size_A,
            fsc_resolution_A=fsc_resolution_A,
            seed=seed,
        )
        for name, volume in (("map", made.volume), ("half1", made.half1), ("half2", made.half2)):
            if volume is not None:
                write_volume(paths[name], volume)
    return {name: str(path) for name, path in paths.items()}
