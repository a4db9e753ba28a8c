"""Published filaments by name: what is known of each, and where its model and map are found.

A file is looked for in the folder that the environment variable ``HELIXLAB_DATA`` names, then in the cache, and is
downloaded only then. The archives revise their files and publish no checksum beside them, so that none can be
written down here: the SHA-256 of a download is recorded in the cache on first use and checked on every later one
(trust on first use, as SSH does with hosts). A file whose hash has changed is refused.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry
from helixlab.io._files import written_whole
from helixlab.simulate import SimulatedMap, simulate_helix

_MODEL_URL = "https://files.rcsb.org/download/{pdb}.cif.gz"
_MAP_URL = "https://files.wwpdb.org/pub/emdb/structures/EMD-{number}/map/emd_{number}.map.gz"

_TIMEOUT_S = (5.0, 20.0)
"""To connect, and between two pieces of the answer: a machine without a network gets its message soon."""


@dataclass(frozen=True)
class Example:
    """A published filament.

    Parameters
    ----------
    name, title : str
        Short name for :func:`get`, and what it is.
    symmetry : HelicalSymmetry
        The published symmetry; where the deposition is wrong, the corrected one.
    source : str
        Where the symmetry is taken from.
    emdb, pdb, empiar : str
        Accession codes, e.g. "EMD-2842", "4UDV", "EMPIAR-10019"; empty where there is none.
    deposited : HelicalSymmetry, optional
        What the deposition says, where it differs.
    note : str
        Why it differs, or what to look out for.
    local_models, local_maps : tuple of str
        Paths within the ``HELIXLAB_DATA`` folder, in the order in which they are tried.
    pixel_size_A, resolution_A : float
        For :meth:`simulate`, where not given; in a box of 128 voxels the filament fits.
    """

    name: str
    title: str
    symmetry: HelicalSymmetry
    source: str
    emdb: str = ""
    pdb: str = ""
    empiar: str = ""
    deposited: HelicalSymmetry | None = None
    note: str = ""
    local_models: tuple[str, ...] = ()
    local_maps: tuple[str, ...] = ()
    pixel_size_A: float = 1.2
    resolution_A: float = 4.0

    @property
    def model_url(self) -> str:
        """Where the atomic model is downloaded from; empty if none is deposited."""
        return _MODEL_URL.format(pdb=self.pdb) if self.pdb else ""

    @property
    def map_url(self) -> str:
        """Where the deposited map is downloaded from; empty if none is deposited."""
        return _MAP_URL.format(number=self.emdb.removeprefix("EMD-")) if self.emdb else ""

    def model_path(self) -> Path:
        """The atomic model: from ``HELIXLAB_DATA``, from the cache, or downloaded into it.

        Raises
        ------
        HelixLabError
            If there is no model, it cannot be downloaded, or its hash is not that of the first download.
        """
        return self._path("model", self.local_models, self.model_url)

    def map_path(self) -> Path:
        """The map: from ``HELIXLAB_DATA`` (deposited, or computed from the model), the cache, or downloaded.

        Raises
        ------
        HelixLabError
            If there is no map, it cannot be downloaded, or its hash is not that of the first download.
        """
        deposited = (f"maps/{self.map_url.rsplit('/', 1)[-1]}",) if self.emdb else ()
        return self._path("map", (*deposited, *self.local_maps), self.map_url)

    def simulate(
        self, *, box: int = 128, pixel_size_A: float | None = None, resolution_A: float | None = None, **options: Any
    ) -> SimulatedMap:
        """A density map of this filament, from its model and its published symmetry.

        Parameters
        ----------
        box : int
            Voxels along each edge.
        pixel_size_A, resolution_A : float, optional
            Å; the example's own where not given.
        **options
            As for :func:`helixlab.simulate.simulate_helix`.

        Raises
        ------
        HelixLabError
            As :meth:`model_path` and :func:`helixlab.simulate.simulate_helix`.
        """
        return simulate_helix(
            self.model_path(),
            self.symmetry,
            box=box,
            pixel_size_A=self.pixel_size_A if pixel_size_A is None else pixel_size_A,
            resolution_A=self.resolution_A if resolution_A is None else resolution_A,
            **options,
        )

    def _path(self, kind: str, local: tuple[str, ...], url: str) -> Path:
        folder = os.environ.get("HELIXLAB_DATA")
        for relative in local if folder else ():
            if (Path(str(folder)) / relative).is_file():
                return Path(str(folder)) / relative
        instead = (
            f'The built-in structure needs no file: simulate_helix("builtin", ...) with {self.symmetry}, or '
            "`helixlab simulate builtin`."
        )
        if not url:
            raise HelixLabError(f"example {self.name}: no {kind} is known for it. {instead}")
        return _fetch(url, advice=instead)


def names() -> list[str]:
    """The names of all examples.

    Examples
    --------
    >>> names()[:3]
    ['tmv', 'pf1', 'vipab']
    """
    return list(_EXAMPLES)


def get(name: str) -> Example:
    """One example.

    Parameters
    ----------
    name : str
        A name of :func:`names`, or an accession code of the EMDB, PDB or EMPIAR; upper and lower case are one.

    Raises
    ------
    HelixLabError
        If nothing goes by this name.

    Examples
    --------
    >>> get("EMD-2842").symmetry
    HelicalSymmetry(twist_deg=22.03, rise_A=1.408, point_group='C1')
    """
    wanted = name.strip().lower()
    for example in _EXAMPLES.values():
        if wanted and wanted in {code.lower() for code in (example.name, example.emdb, example.pdb, example.empiar)}:
            return example
    raise HelixLabError(f"example: found no {name!r}; known are {', '.join(_EXAMPLES)}.")


def cache_folder() -> Path:
    """Where downloads are kept: ``HELIXLAB_CACHE``, or the folder the operating system sets aside for caches."""
    return Path(os.environ.get("HELIXLAB_CACHE") or pooch.os_cache("helixlab"))


# --- download ---------------------------------------------------------------------------------------------


def _fetch(url: str, *, advice: str) -> Path:
    """The cached file, downloaded if need be, with the hash of its first download."""
    target = cache_folder() / url.rsplit("/", 1)[-1]
    record = target.with_name(target.name + ".sha256")
    if not target.is_file():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HelixLabError(
                f"{target.parent}: the cache cannot be made ({error.strerror}); set HELIXLAB_CACHE to a folder "
                "that can be written."
            ) from error
        with written_whole(target, overwrite=True) as temporary:
            _download(url, temporary, advice)
            _check_hash(temporary, record, url)
    else:
        _check_hash(target, record, url)
    return target


def _download(url: str, target: Path, advice: str) -> None:
    try:
        pooch.HTTPDownloader(timeout=_TIMEOUT_S)(url, str(target), None)
    except OSError as error:  # every failure of the network and of HTTP that requests knows
        raise HelixLabError(
            f"{url}: cannot be downloaded ({_first_line(error)}). Connect to the network; or put the file into "
            f"{cache_folder()}; or set HELIXLAB_DATA to a folder that holds it. {advice}"
        ) from error


def _check_hash(path: Path, record: Path, url: str) -> None:
    """Compare with the recorded hash; without a record, this is the first use and makes one."""
    found = pooch.file_hash(str(path), alg="sha256")
    if record.is_file():
        recorded = record.read_text("ascii", errors="replace").strip()
        if recorded != found:
            raise HelixLabError(
                f"{record.with_suffix('')}: SHA-256 is {found}, but {recorded} at the first download. The archive "
                f"revised {url}, or the file was damaged. To accept the file as it is now, delete {record}; to "
                "download it again, delete the file as well."
            )
        return
    with written_whole(record, overwrite=True) as temporary:
        temporary.write_text(found + "\n", "ascii")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


# --- the list ------------------------------------------------------------------------------------------------

_CURATED = "curated table of EMDB helical parameters"

_LIST = (
    Example(
        name="tmv",
        title="Tobacco mosaic virus, 3.35 Å",
        symmetry=HelicalSymmetry(22.03, 1.408),
        source=f"EMD-2842, confirmed by the {_CURATED} and by the 49 BIOMT operators of 4UDV",
        emdb="EMD-2842",
        pdb="4UDV",
        local_models=("models/4udv.pdb",),
        local_maps=("generated/tmv_4udv_5A_128px_1.7A.mrc.gz",),
        pixel_size_A=1.7,
        resolution_A=5.0,
    ),
    Example(
        name="pf1",
        title="Pf1 inovirus coat, fibre diffraction",
        symmetry=HelicalSymmetry(197.745, 9.15),
        source="the helical symmetry record of 1QL2",
        pdb="1QL2",
        note=(
            "Three chains make up one helical unit. A twist of 65.915° and a rise of 3.05 Å per chain hold only "
            "roughly: a map correlates 0.88 with itself under them."
        ),
        local_models=("models/1ql2.cif",),
    ),
    Example(
        name="vipab",
        title="VipA/VipB sheath of the type VI secretion system",
        symmetry=HelicalSymmetry(29.4, 21.8, "C6"),
        source="EMPIAR-10019, EMD-2699; Kudryashev et al. (2015) Cell 160, 952, doi:10.1016/j.cell.2015.01.037",
        emdb="EMD-2699",
        pdb="3J9G",
        empiar="EMPIAR-10019",
        note="With C6, 29.4° and −30.6° are one symmetry.",
        pixel_size_A=2.8,
        resolution_A=7.0,
    ),
    Example(
        name="mavs",
        title="MAVS CARD filament, 3.64 Å",
        symmetry=HelicalSymmetry(-101.1, 5.13),
        source=f"the {_CURATED}: the map correlates 0.996 with itself under −101.098° and 5.094 Å",
        emdb="EMD-5922",
        pdb="3J6J",
        empiar="EMPIAR-10031",
        deposited=HelicalSymmetry(101.1, 5.13),
        note="Deposited with the wrong sign of the twist (correlation 0.54).",
    ),
    Example(
        name="actin",
        title="Actin filament, 3.1 Å",
        symmetry=HelicalSymmetry(-166.61, 27.4),
        source=f"EMD-7936; the {_CURATED} refines it to −166.59° and 27.37 Å",
        emdb="EMD-7936",
        pdb="6DJM",
    ),
    Example(
        name="actin-galkin",
        title="Actin filament, one state, 4.7 Å",
        symmetry=HelicalSymmetry(-166.630, 27.562),
        source=f"the {_CURATED}: the map correlates 0.984 with itself under these values",
        emdb="EMD-6179",
        pdb="3J8I",
        deposited=HelicalSymmetry(166.7, 27.6),
        note="Deposited with the wrong sign of the twist (correlation 0.39).",
        resolution_A=5.0,
    ),
    Example(
        name="parm",
        title="ParM filament, 4.3 Å",
        symmetry=HelicalSymmetry(165.1, 24.7),
        source=f"EMD-2850, confirmed by the {_CURATED}",
        emdb="EMD-2850",
        pdb="5AEY",
        resolution_A=5.0,
    ),
    Example(
        name="microtubule",
        title="Microtubule, 13 protofilaments, 3-start, tubulin monomers",
        symmetry=HelicalSymmetry(-27.7, 9.46),
        source=f"the usual values; EMD-8322 of the {_CURATED} has −27.687° and 9.448 Å",
        note="α- and β-tubulin taken as one: the seam breaks this symmetry.",
    ),
    Example(
        name="asyn",
        title="α-synuclein fibril, 3.07 Å",
        symmetry=HelicalSymmetry(179.641, 2.393),
        source=f"EMD-6988, confirmed by the {_CURATED}; the chains of 6A6B fit 179.629° and 2.407 Å",
        emdb="EMD-6988",
        pdb="6A6B",
        note="Near 2₁: the map correlates 0.97 or more with itself under the wrong sign for one step.",
        local_models=("models/6a6b.pdb",),
        local_maps=("generated/asyn_6a6b_4A_128px_1.2A.mrc.gz",),
    ),
    Example(
        name="abeta",
        title="Amyloid-β(1-42) fibril, 4.0 Å",
        symmetry=HelicalSymmetry(179.269, 2.327),
        source=f"the {_CURATED}; the chains of 5OQV fit 179.285° and 2.342 Å",
        emdb="EMD-3851",
        pdb="5OQV",
        deposited=HelicalSymmetry(-179.275, 2.335),
        note="Deposited with the wrong sign of the twist.",
        local_models=("models/5oqv.pdb",),
    ),
    Example(
        name="asyn-e46k",
        title="α-synuclein E46K fibril, 2.5 Å",
        symmetry=HelicalSymmetry(178.92, 4.85, "C2"),
        source=f"EMD-20759, confirmed by the {_CURATED}; the chains of 6UFR fit −1.070°, 4.845 Å, C2",
        emdb="EMD-20759",
        pdb="6UFR",
        note="With C2, 178.92° and −1.08° are one symmetry. The helical axis of the deposited map is x, not z.",
        local_models=("models/6ufr_origin_5layers.pdb",),
    ),
    Example(
        name="uperin",
        title="Uperin-3.5 peptide fibril, 3.0 Å",
        symmetry=HelicalSymmetry(-1.14, 4.86, "C3"),
        source=f"EMD-14167, confirmed by the {_CURATED}; the chains of 7QV5 fit −1.140°, 4.860 Å, C3",
        emdb="EMD-14167",
        pdb="7QV5",
        local_models=("models/7qv5_bfacreplaced.pdb.gz",),
    ),
    Example(
        name="tau-phf",
        title="Tau paired helical filament, 3.4 Å",
        symmetry=HelicalSymmetry(179.4, 2.36),
        source="EMD-3741; the chains of the model fit 179.478° and 2.377 Å",
        emdb="EMD-3741",
        pdb="5O3L",
        note="Its deposited map is not centred on the helical axis.",
        local_models=("models/tau_PHF_filamenttools.cif.gz",),
    ),
)

_EXAMPLES = {example.name: example for example in _LIST}
