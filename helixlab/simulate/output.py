"""A simulation on disk: the maps, and everything that is true of them in one JSON file."""

import json
import os
from pathlib import Path

from helixlab.errors import HelixLabError
from helixlab.io import write_volume
from helixlab.io._files import written_whole
from helixlab.simulate.helix import SimulatedMap


def write_simulation(
    out_dir: str | os.PathLike[str], simulated: SimulatedMap, *, overwrite: bool = False
) -> dict[str, Path]:
    """Write ``map.mrc``, with noise also ``half1.mrc`` and ``half2.mrc``, and ``truth.json``.

    Parameters
    ----------
    out_dir : path
        Folder; made if it is missing.
    simulated : SimulatedMap
    overwrite : bool
        Whether existing files may be replaced; half maps of an earlier simulation are removed then.

    Returns
    -------
    dict
        The files written, by "map", "half1", "half2" and "truth".

    Raises
    ------
    HelixLabError
        If a file exists and ``overwrite`` is false (then nothing is written), or the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> from helixlab.geometry import HelicalSymmetry
    >>> from helixlab.simulate import simulate_helix
    >>> made = simulate_helix("builtin", HelicalSymmetry(60.0, 12.0), box=48, pixel_size_A=2.5, resolution_A=8.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(write_simulation(folder, made))
    ['map', 'truth']
    """
    folder = Path(out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HelixLabError(f"{folder}: cannot be made ({error.strerror}); choose another folder.") from error
    volumes = {"map": simulated.volume, "half1": simulated.half1, "half2": simulated.half2}
    files = {key: folder / f"{key}.mrc" for key, volume in volumes.items() if volume is not None}
    files["truth"] = folder / "truth.json"
    # Half maps left by an earlier simulation would be taken for this one's: they count as existing files too.
    stale = [folder / f"{key}.mrc" for key, volume in volumes.items() if volume is None]
    present = [path for path in (*files.values(), *stale) if path.exists()]
    if present and not overwrite:
        raise HelixLabError(
            f"{present[0]}: the file exists already; choose another folder or allow overwriting (overwrite=True)."
        )
    for path in stale:
        path.unlink(missing_ok=True)
    for key, volume in volumes.items():
        if volume is not None:
            write_volume(files[key], volume, overwrite=overwrite)
    with written_whole(files["truth"], overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(simulation_parameters(simulated), indent=2, ensure_ascii=False) + "\n", "utf-8")
    return files


def simulation_parameters(simulated: SimulatedMap) -> dict[str, object]:
    """Everything needed to make the same maps again, as plain JSON values."""
    symmetry, noise, unit = simulated.symmetry, simulated.noise, simulated.unit
    return {
        "twist_deg": symmetry.twist_deg,
        "rise_A": symmetry.rise_A,
        "point_group": symmetry.point_group,
        "model": unit.name,
        "chains": list(unit.chains),
        "atoms_per_unit": len(unit.elements),
        "box": list(simulated.truth.shape),
        "pixel_size_A": simulated.truth.pixel_size_A,
        "resolution_A": simulated.resolution_A,
        "b_factor_A2": simulated.b_factor_A2,
        "outer_radius_A": simulated.outer_radius_A,
        "offset_px": list(simulated.offset_px),
        "tilt_deg": simulated.tilt_deg,
        "tilt_azimuth_deg": simulated.tilt_azimuth_deg,
        "noise_sd": noise.sd,
        "noise_resolution_A": noise.lowpass_A,
        "half_map_fsc_0143_A": noise.fsc_resolution_A,
        "seed": simulated.seed,
    }
