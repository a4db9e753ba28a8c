"""One map, and what an explorer asks of it; what does not depend on the question is computed once and kept."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from helixlab.errors import HelixLabError
from helixlab.explore.advice import with_advice
from helixlab.explore.answers import Cuts, PitchLandscape, SymmetryScore
from helixlab.explore.power_spectrum import PowerSpectrum, compute_power_spectrum
from helixlab.explore.resize import downsize_volume, mirror_volume
from helixlab.explore.symmetry_fsc import CentralPart
from helixlab.geometry import HelicalSymmetry, Volume, parse_point_group
from helixlab.io import read_volume
from helixlab.kernels.kept import Kept
from helixlab.kernels.lags import score_pairs
from helixlab.kernels.sections import Sections, sum_sections, take_sections
from helixlab.kernels.symmetrize import Symmetrizer
from helixlab.search import (
    Candidate,
    Filament,
    Landscape,
    SearchResult,
    SearchSettings,
    UnrolledMap,
    compute_landscape,
    find_dyad,
    prepare_filament,
    score_pitch_plane,
    search_symmetry,
    unroll,
)
from helixlab.search.filament import check_maps
from helixlab.search.imposed import Imposed, prepare_noise
from helixlab.search.judge import Judge
from helixlab.search.pipeline import Progress
from helixlab.search.verdict import candidate_for
from helixlab.validate import FSCCurve

Kind = Literal["section", "projection"]
MapSource = str | os.PathLike[str] | Volume

Z_FRACTION = 0.5
"""Middle part of the box's height that is averaged: the ends of a reconstruction are worse, or copies of its middle."""

_LEAST_EDGE_PX = 3.0
"""Room left for the soft edge of a filament as wide as its box."""


_BEYOND = 1.5
"""Highest frequency of a power spectrum, over that of the map's resolution."""


class FilamentMap:
    """A map, or two half maps, prepared for exploring its symmetry.

    Parameters
    ----------
    volume : Volume
        A filament along z through the box's centre, or half map 1.
    half2 : Volume, optional
        Half map 2 on the same grid.
    name : str
    search : SearchSettings, optional
        Radii of the filament, and what :meth:`search` does by default.

    Attributes
    ----------
    name : str
    volume : Volume
        The map, or the mean of the half maps.
    half1, half2 : Volume or None
    is_flipped : bool
        Whether this is the mirror image that :meth:`flipped` made.

    Raises
    ------
    HelixLabError
        If a map is smaller than 16 voxels or constant, or the halves' grids differ.

    Notes
    -----
    Methods may be called from several threads. Whatever takes long is computed when it is first needed.

    Examples
    --------
    >>> from helixlab.simulate import simulate_helix
    >>> truth = HelicalSymmetry(60.0, 12.0)
    >>> volume = simulate_helix("builtin", truth, box=48, pixel_size_A=2.5, resolution_A=8.0).volume
    >>> filament_map = FilamentMap(volume)
    >>> wrong = HelicalSymmetry(50.0, 12.0)
    >>> filament_map.score(truth).score > 0.99 > filament_map.score(wrong).score
    True
    >>> round(filament_map.refine(HelicalSymmetry(60.3, 12.1)).symmetry.twist_deg, 2)
    60.0
    """

    def __init__(
        self,
        volume: Volume,
        half2: Volume | None = None,
        *,
        name: str = "map",
        search: SearchSettings | None = None,
    ) -> None:
        check_maps(volume, half2)
        self.name = name
        self.half1, self.half2 = (None, None) if half2 is None else (volume, half2)
        self.volume = volume if half2 is None else volume.with_data((volume.data + half2.data) / 2)
        self.is_flipped = False
        self._settings = search or SearchSettings()
        self._kept = Kept(most=6)

    @classmethod
    def open(
        cls,
        source: "MapSource | FilamentMap | Sequence[MapSource]",
        *,
        pixel_size_A: float | None = None,
        name: str | None = None,
        search: SearchSettings | None = None,
    ) -> "FilamentMap":
        """From a file, a map, or two half maps.

        Parameters
        ----------
        source : path, Volume, FilamentMap, or two paths or Volumes
            Two are half maps. A FilamentMap is returned as it is.
        pixel_size_A : float, optional
            For files whose headers give none, or a wrong one.
        name : str, optional
            By default the (first) file's name.
        search : SearchSettings, optional

        Raises
        ------
        HelixLabError
            If a file cannot be read, or there are not one or two maps.
        """
        if isinstance(source, FilamentMap):
            return source
        sources = [source] if isinstance(source, str | os.PathLike | Volume) else list(source)
        if len(sources) not in (1, 2):
            raise HelixLabError(f"source: found {len(sources)} maps; give one map, or the two half maps.")
        maps = [s if isinstance(s, Volume) else read_volume(s, pixel_size_A=pixel_size_A) for s in sources]
        if name is None:
            name = "map" if isinstance(sources[0], Volume) else Path(sources[0]).name.split(".")[0]
        return cls(*maps, name=name, search=search)

    @property
    def settings(self) -> SearchSettings:
        """Radii and ranges, as given or the defaults."""
        return self._settings

    @property
    def max_rise_A(self) -> float:
        """The largest rise that can be imposed: the part of the box that is averaged holds one."""
        return Z_FRACTION * self.volume.extent_A[0]

    @property
    def has_halves(self) -> bool:
        """Whether there are two half maps: an FSC that is a resolution, and scores that noise does not lower."""
        return self.half2 is not None

    @property
    def maps(self) -> list[Volume]:
        """The map, or the two half maps."""
        return [self.volume] if self.half1 is None or self.half2 is None else [self.half1, self.half2]

    @property
    def filament(self) -> Filament:
        """The map's correlation with itself, which all scores are read from."""
        return self._kept.get(
            "filament",
            None,
            lambda: prepare_filament(
                *self.maps,
                inner_radius_A=self._settings.inner_radius_A,
                outer_radius_A=self._settings.outer_radius_A,
            ),
        )

    @property
    def resolution_A(self) -> float:
        """FSC 0.143 of the half maps in the cylinder; of one map the frequency below which 99.9% of its power lies."""
        return self.filament.resolution_A

    @property
    def inner_radius_A(self) -> float:
        """Where the filament begins."""
        return self.filament.inner_radius_A

    @property
    def outer_radius_A(self) -> float:
        """Where the filament ends."""
        return self.filament.outer_radius_A

    def flipped(self) -> "FilamentMap":
        """The mirror image (z → −z about voxel n // 2), whose helices have the other hand."""

        def mirror() -> FilamentMap:
            mirrored = FilamentMap(*map(mirror_volume, self.maps), name=self.name, search=self._settings)
            mirrored.is_flipped = not self.is_flipped
            return mirrored

        return self._kept.get("flipped", None, mirror)

    # --- pictures ---------------------------------------------------------------------------------------

    def planes(self, at_px: tuple[int, int, int] | None = None, kind: Kind = "section") -> Sections:
        """Three slices of the map through a voxel (z, y, x; by default the centre), or its sums along the axes.

        Raises
        ------
        HelixLabError
            If the voxel lies outside the box.
        """
        if kind == "section":
            return take_sections(self.volume, at_px)
        return self._kept.get("projections", None, lambda: sum_sections(self.volume))

    def symmetrised_planes(
        self, symmetry: HelicalSymmetry, at_px: tuple[int, int, int] | None = None, kind: Kind = "section"
    ) -> Sections:
        """As :meth:`planes`, of the map with a symmetry imposed.

        Raises
        ------
        HelixLabError
            If the voxel lies outside the box, or half of its height holds no full rise.
        """
        azimuth_deg, z_A = self._dyad(symmetry)
        symmetrizer = self._symmetrizer()
        if kind == "section":
            return symmetrizer.sections(symmetry, at_px=at_px, dyad_deg=azimuth_deg, dyad_z_A=z_A)
        return symmetrizer.projections(symmetry, dyad_deg=azimuth_deg, dyad_z_A=z_A)

    def symmetrised(self, symmetry: HelicalSymmetry, *, box_px: int | None = None) -> Volume:
        """The map with a symmetry imposed; with ``box_px`` that of :meth:`downsized`.

        Raises
        ------
        HelixLabError
            If half of the box's height holds no full rise.
        """
        azimuth_deg, z_A = self._dyad(symmetry)
        symmetrizer = self._symmetrizer(self.volume if box_px is None else self.downsized(box_px))
        return symmetrizer.impose(symmetry, dyad_deg=azimuth_deg, dyad_z_A=z_A)

    def downsized(self, box_px: int) -> Volume:
        """The map on a grid of at most ``box_px`` voxels a side, for drawing in 3D."""
        if box_px >= max(self.volume.shape):
            return self.volume
        return self._kept.get("smaller", box_px, lambda: downsize_volume(self.volume, box_px))

    def unrolled(
        self, radius_A: float | None = None, *, thickness_A: float = 0.0, symmetry: HelicalSymmetry | None = None
    ) -> UnrolledMap:
        """The density at a radius laid flat, of the map or with a symmetry imposed.

        Without a radius it is averaged over the filament's wall, from inside to outside.

        Raises
        ------
        HelixLabError
            If the cylinder reaches the axis or leaves the box, or half of the box's height holds no full rise.
        """
        if radius_A is None:
            inner_A = max(self.inner_radius_A, self.volume.pixel_size_A)
            radius_A, thickness_A = (inner_A + self.outer_radius_A) / 2, self.outer_radius_A - inner_A
        volume = self.volume if symmetry is None else self.symmetrised(symmetry)
        return unroll(volume, radius_A, thickness_A=thickness_A)

    def power_spectrum(self, symmetry: HelicalSymmetry | None = None) -> PowerSpectrum:
        """Mean power of all side views, of the map or with a symmetry imposed.

        It reaches half as far again as the map's resolution: a symmetry brings out what lies beyond.

        Raises
        ------
        HelixLabError
            If half of the box's height holds no full rise.
        """
        finest_A = max(2.0 * self.volume.pixel_size_A, self.resolution_A / _BEYOND)
        needed = 2.0 * self.volume.pixel_size_A / finest_A * max(self.volume.shape)
        box_px = min(max(self.volume.shape), max(48, 8 * int(np.ceil(1.1 * needed / 8))))

        def compute() -> PowerSpectrum:
            volume = self.downsized(box_px) if symmetry is None else self.symmetrised(symmetry, box_px=box_px)
            return compute_power_spectrum(volume, self.outer_radius_A, 1.0 / finest_A)

        return compute() if symmetry is not None else self._kept.get("spectrum", None, compute)

    # --- judgements ---------------------------------------------------------------------------------------

    def fsc(self, symmetry: HelicalSymmetry | None) -> tuple[FSCCurve, ...]:
        """Fourier shell correlation of the half maps under a symmetry, in the filament's central part.

        Parameters
        ----------
        symmetry : HelicalSymmetry or None
            None: of the half maps as they are.

        Returns
        -------
        tuple of FSCCurve
            "half maps" or "half maps, symmetrised". For a single map the curve of the map against itself symmetrised,
            which is no resolution, as its label says; without a symmetry nothing.

        Notes
        -----
        All curves use one soft mask, so that they compare. Half maps that were given the same wrong symmetry agree as
        well as ever: an FSC does not choose between symmetries.
        """
        part = self._central_part
        if symmetry is None:
            return self._kept.get("fsc", None, self._fsc_as_it_is)
        if not self.has_halves:
            first, second = part.of_map(self.volume), self._symmetrised_part(self.volume, symmetry)
            return (part.fsc(first, second, "map vs symmetrised: not a resolution"),)
        first, second = (self._symmetrised_part(half, symmetry) for half in self.maps)
        return (part.fsc(first, second, "half maps, symmetrised"),)

    def score(self, symmetry: HelicalSymmetry) -> SymmetryScore:
        """How well the map fits itself under a symmetry, at exactly its values.

        Where the symmetry seems to have been imposed on the map before, or there is no noise to tell, a note says so
        and twist and rise have no standard errors.
        """
        azimuth_deg, z_A = self._dyad(symmetry)
        explained = self._symmetrizer().correlation(symmetry, dyad_deg=azimuth_deg, dyad_z_A=z_A)
        imposed = self.imposed(symmetry)
        return SymmetryScore(**vars(self._candidate(symmetry, imposed)), explained=explained, imposed=imposed)

    def refine(self, symmetry: HelicalSymmetry) -> Candidate:
        """The nearest maximum of the score, with standard errors of twist and rise as :meth:`score` gives them."""
        refined = Judge(self.filament).refine(symmetry)
        return self._candidate(refined, self.imposed(refined))

    def imposed(self, symmetry: HelicalSymmetry) -> Imposed:
        """Whether the map had a symmetry, or a part of it, before: then it scores high, true or not."""
        noise = self._kept.get("noise", None, lambda: prepare_noise(self.filament, *self.maps))
        return noise.find_imposed(symmetry)

    def judge(self, symmetry: HelicalSymmetry) -> Judge:
        """What compares symmetries with this one. Noise of a single map is its departure from the symmetry."""
        filament = self.filament
        return Judge(filament if filament.has_half_maps else filament.with_departure_noise(symmetry))

    def landscape(
        self,
        twist_range_deg: tuple[float, float],
        rise_range_A: tuple[float, float],
        *,
        shape: tuple[int, int] = (480, 300),
        point_group: str = "C1",
    ) -> Landscape:
        """Scores over a window of twists and rises, ends included (of a full turn the first one only).

        Raises
        ------
        HelixLabError
            If a rise is not above 0 Å.
        """
        is_full_turn = abs(twist_range_deg[1] - twist_range_deg[0] - 360.0) < 1e-6
        twist_deg = np.linspace(*twist_range_deg, shape[0], endpoint=not is_full_turn)
        _, order = parse_point_group(point_group)
        return compute_landscape(self.filament, twist_deg, np.linspace(*rise_range_A, shape[1]), cyclic_order=order)

    def pitch_landscape(
        self,
        pitch_range_A: tuple[float, float],
        subunits_range: tuple[float, float],
        *,
        hand: int = 1,
        shape: tuple[int, int] = (300, 480),
        point_group: str = "C1",
    ) -> PitchLandscape:
        """Scores over a window of pitches and subunits per turn; ``shape`` is (pitches, subunits)."""
        pitch_A, subunits = np.linspace(*pitch_range_A, shape[0]), np.linspace(*subunits_range, shape[1])
        _, order = parse_point_group(point_group)
        score, _ = score_pitch_plane(self.filament, pitch_A, subunits, hand=hand, cyclic_order=order)
        return PitchLandscape(pitch_A, subunits, score, hand)

    def cuts(
        self,
        symmetry: HelicalSymmetry,
        *,
        twist_half_width_deg: float = 2.0,
        rise_half_width_A: float = 1.0,
        n: int = 201,
    ) -> Cuts:
        """Scores over all copies along twist and along rise through a symmetry."""
        twist_deg = symmetry.twist_deg + twist_half_width_deg * np.linspace(-1.0, 1.0, n)
        lowest_A = max(symmetry.rise_A - rise_half_width_A, 0.05 * symmetry.rise_A)
        rise_A = np.linspace(lowest_A, symmetry.rise_A + rise_half_width_A, n)
        filament = self.filament
        score = np.asarray(
            score_pairs(
                filament.folded(symmetry.cyclic_order),
                filament.limits,
                jnp.asarray(np.r_[twist_deg, np.full(n, symmetry.twist_deg)], jnp.float32),
                jnp.asarray(np.r_[np.full(n, symmetry.rise_A), rise_A], jnp.float32),
                jnp.int32(max(1, int(filament.max_lag_A / lowest_A))),
            )[0]
        )
        return Cuts(twist_deg, score[:n], rise_A, score[n:])

    def search(self, settings: SearchSettings | None = None, progress: Progress | None = None) -> SearchResult:
        """Find the symmetry without a hint, see :func:`helixlab.search.search_symmetry`; each candidate with advice."""
        settings = settings or self._settings
        return with_advice(search_symmetry(*self.maps, settings=settings, progress=progress), settings)

    def warm_up(self, point_group: str = "C1") -> None:
        """Compile now what following a slider needs under a point group, whatever the twist and rise.

        Slices, FSC and score afterwards never wait for the compiler.
        """
        longest_A = 0.9 * Z_FRACTION * self.volume.extent_A[0]
        # So many sizes are there of blocks of layer lines and of sets of lags.
        for rise_A in sorted({min(steps * self.volume.pixel_size_A, longest_A) for steps in (1.0, 3.5, 12.0, 40.0)}):
            symmetry = HelicalSymmetry(20.0, rise_A, point_group)
            self.symmetrised_planes(symmetry)
            self.fsc(symmetry)
            self.score(symmetry)

    def _candidate(self, symmetry: HelicalSymmetry, imposed: Imposed) -> Candidate:
        found = candidate_for(self.judge(symmetry), symmetry)
        if remark := imposed.remark(symmetry):
            found = replace(found, notes=(f"{remark[0].upper()}{remark[1:]}.",))
        return found if imposed.screw is False else replace(found, twist_se_deg=None, rise_se_A=None)

    # --- what is kept ---------------------------------------------------------------------------------

    def _symmetrizer(self, volume: Volume | None = None) -> Symmetrizer:
        """Of the map, a half map, or a smaller one."""
        of = self.volume if volume is None else volume

        def make() -> Symmetrizer:
            widest_A = ((min(of.shape[1:]) - 1) // 2 - _LEAST_EDGE_PX) * of.pixel_size_A
            return Symmetrizer(
                of,
                z_fraction=Z_FRACTION,
                outer_radius_A=min(self.outer_radius_A, widest_A),
                inner_radius_A=self.inner_radius_A,
            )

        return self._kept.get("symmetrizer", id(of), make)

    def _dyad(self, symmetry: HelicalSymmetry) -> tuple[float, float]:
        """Where the dyad of Dn lies: azimuth (degrees) and height (Å). Sought anew when the screw has changed much."""
        if not symmetry.is_dihedral:
            return 0.0, 0.0
        key = (symmetry.cyclic_order, round(symmetry.twist_deg), round(symmetry.rise_A, 1))

        def find() -> tuple[float, float]:
            fit = find_dyad(self.filament, symmetry)
            return fit.azimuth_deg, fit.z_A

        return self._kept.get("dyad", key, find)

    @property
    def _central_part(self) -> CentralPart:
        outer_px = self.outer_radius_A / self.volume.pixel_size_A
        return self._kept.get(
            "part", None, lambda: CentralPart(self.volume.shape, self.volume.pixel_size_A, outer_px, Z_FRACTION)
        )

    def _fsc_as_it_is(self) -> tuple[FSCCurve, ...]:
        if not self.has_halves:
            return ()
        first, second = (self._central_part.of_map(half) for half in self.maps)
        return (self._central_part.fsc(first, second, "half maps"),)

    def _symmetrised_part(self, volume: Volume, symmetry: HelicalSymmetry) -> Float[np.ndarray, "z y x"]:
        return self._central_part.of_symmetrised(self._symmetrizer(volume), symmetry, self._dyad(symmetry))
