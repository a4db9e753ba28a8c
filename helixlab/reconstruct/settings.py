"""What a user may set in a helical refinement: CryoSPARC's parameters under its labels, and HelixLab's own."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from helixlab.errors import HelixLabError
from helixlab.geometry import HelicalSymmetry, parse_point_group
from helixlab.settings import Settings, setting

Range = tuple[float, float]
Length = Annotated[float, Field(gt=0)] | None

SYMMETRY = "Helical symmetry"
SEARCH = "Symmetry search"
NON_UNIFORM = "Non-uniform"
INITIAL = "Initial model"
MASK = "Mask"
FSC = "FSC"
ALIGNMENT = "Alignment"
NOISE = "Noise"
COMPUTE = "Compute"


class RefinementSettings(Settings):
    """Settings of a helical refinement; without twist and rise it is asymmetric.

    Raises
    ------
    HelixLabError
        If a value is out of range or two do not fit together; it names the setting.

    Examples
    --------
    >>> settings = RefinementSettings(twist_deg=-101.1, rise_A=5.13)
    >>> settings.search_ranges()[0]
    (-104.1, -98.1)
    >>> RefinementSettings().symmetry is None
    True
    """

    twist_deg: float | None = setting(
        None,
        "Helical twist estimate",
        "Rotation from one asymmetric unit to the next, right-handed positive. Empty, with an empty rise: no helical "
        "symmetry is imposed.",
        "deg",
        relion="--helical_twist_initial",
        group=SYMMETRY,
        ge=-360,
        le=360,
    )
    rise_A: Length = setting(
        None,
        "Helical rise estimate",
        "Shift along the axis from one asymmetric unit to the next; always positive, the hand is the twist's sign.",
        "Å",
        relion="--helical_rise_initial",
        group=SYMMETRY,
    )
    point_group: str = setting(
        "C1",
        "Point group symmetry",
        "Cn about the helical axis, or Dn with dyads across it, in addition to the screw.",
        relion="--sym",
        group=SYMMETRY,
    )
    max_symmetry_order: Annotated[int, Field(ge=1)] | None = setting(
        None,
        "Maximum symmetry order to apply during reconstruction",
        "How many asymmetric units each segment contributes. Empty: inter-box distance over rise, rounded down. "
        "Initial models average five at least. A low value (2 or 3) leaves a doubtful symmetry more room to move.",
        relion="--helical_nr_asu",
        group=SYMMETRY,
    )
    limit_shifts: bool = setting(
        True,
        "Limit shifts along the helical axis",
        "Segments move along the axis by no more than half a rise either way, so that each asymmetric unit counts "
        "once. Needed for symmetry expansion.",
        group=SYMMETRY,
    )
    realspace_symmetrize_res_A: float = setting(
        8.0,
        "Resolution to begin real-space symmetrization",
        "From this GSFSC resolution on the references are symmetrised in real space too, which repairs the box's ends "
        "and locks the symmetry in. A finer value (4 to 5 Å) leaves twist and rise more room to move. Where it is "
        "never reached, as 8 Å by pixels above 4 Å, copies are averaged in Fourier space alone.",
        "Å",
        group=SYMMETRY,
        gt=0,
    )

    symmetry_search_start_res_A: Length = setting(
        None,
        "Resolution to begin local searches of helical symmetry",
        "From this GSFSC resolution on twist and rise are updated in each iteration. Empty: from 12 Å on, as soon as "
        "the half maps determine both to a tenth of their search extents (CryoSPARC's default is 5 Å, which small or "
        "coarsely sampled data never reach).",
        "Å",
        relion="--helical_symmetry_search",
        group=SEARCH,
    )
    twist_search_extent_deg: float = setting(
        3.0,
        "Helical twist search extent",
        "The search reaches this far to both sides of the twist, unless its minimum and maximum are given.",
        "deg",
        group=SEARCH,
        gt=0,
        le=180,
    )
    rise_search_extent_fraction: float = setting(
        0.1,
        "Helical rise search extent",
        "The search reaches this fraction of the rise to both sides, unless its minimum and maximum are given.",
        group=SEARCH,
        gt=0,
        lt=1,
    )
    twist_search_range_deg: Range | None = setting(
        None,
        "Minimum and maximum helical twist to search over",
        "In place of the extent about the estimate.",
        "deg",
        relion="--helical_twist_min, --helical_twist_max",
        group=SEARCH,
    )
    rise_search_range_A: Range | None = setting(
        None,
        "Minimum and maximum helical rise to search over",
        "In place of the extent about the estimate.",
        "Å",
        relion="--helical_rise_min, --helical_rise_max",
        group=SEARCH,
    )
    twist_grid: int = setting(
        128,
        "Twist grid size",
        "Twists compared in one search; the best is refined between grid points.",
        relion="--helical_twist_inistep",
        group=SEARCH,
        ge=8,
        le=4096,
    )
    rise_grid: int = setting(
        128,
        "Rise grid size",
        "Rises compared in one search; the best is refined between grid points.",
        relion="--helical_rise_inistep",
        group=SEARCH,
        ge=8,
        le=4096,
    )
    fix_search_grid: bool = setting(
        True,
        "Fix search grid",
        "Whether the ranges stay where they are, or are centred anew at each iteration's twist and rise.",
        group=SEARCH,
    )
    outer_diameter_A: Length = setting(
        None,
        "Override outer filament diameter for search",
        "Density farther from the axis is left out of the search. Empty: the mask's largest extent.",
        "Å",
        relion="--helical_outer_diameter",
        group=SEARCH,
    )
    inner_diameter_A: Annotated[float, Field(ge=0)] | None = setting(
        None,
        "Override inner filament diameter for search",
        "Density nearer to the axis is left out of the search. Empty: none is.",
        "Å",
        relion="--helical_inner_diameter",
        group=SEARCH,
    )

    use_nonuniform: bool = setting(
        False,
        "Use Non-Uniform Refinement",
        "Regularise the references locally, by cross-validation between the half maps. Slower, often better.",
        group=NON_UNIFORM,
    )
    nonuniform_start_res_A: float = setting(
        6.0,
        "Local processing start resolution",
        "From this GSFSC resolution on regularisation is local; about 8 Å suits large asymmetric units.",
        "Å",
        group=NON_UNIFORM,
        gt=0,
    )

    initial_lowpass_res_A: float = setting(
        20.0,
        "Initial lowpass resolution",
        "To which the initial model is low-passed: 15 to 45 Å where symmetry is imposed; without, below 20 Å a start "
        "with more details (and bias), above 25 Å one with less of both.",
        "Å",
        relion="--ini_high",
        group=INITIAL,
        editable=False,
        gt=0,
    )
    n_initial_images: int = setting(
        5000,
        "Number of images for initial density generation",
        "Segments averaged with azimuths drawn at random; fewer give a more detailed, more biased start.",
        group=INITIAL,
        editable=False,
        ge=1,
    )
    n_initial_models: int = setting(
        4,
        "Number of initial models",
        "At most so many pairs of models are made from random azimuths, until two models agree. "
        "0: the first pair is averaged as it is.",
        group=INITIAL,
        editable=False,
        ge=0,
        le=50,
    )
    use_cylindrical_model: bool = setting(
        False,
        "Use cylindrical model",
        "Start from a featureless tube, in place of averages of the segments.",
        relion="--cylinder_diameter",
        group=INITIAL,
        editable=False,
    )
    cylinder_outer_diameter_A: Length = setting(
        None, "Cylinder outer diameter", "Of the cylindrical model.", "Å", group=INITIAL, editable=False
    )
    cylinder_inner_diameter_A: Annotated[float, Field(ge=0)] | None = setting(
        None, "Cylinder inner diameter", "Of the cylindrical model; empty: solid.", "Å", group=INITIAL, editable=False
    )

    mask: Literal["dynamic", "static"] = setting(
        "dynamic",
        "Mask (dynamic, static)",
        "Dynamic: made from the map in each iteration. Static: the mask that is given, which is kept.",
        relion="--solvent_mask",
        group=MASK,
    )
    mask_threshold: float = setting(
        0.3,
        "Dynamic mask threshold",
        "Fraction of the low-passed map's largest density above which a voxel belongs to the filament.",
        group=MASK,
        gt=0,
        lt=1,
    )
    mask_dilation_A: float = setting(
        6.0, "Dynamic mask near", "The mask is 1 up to this distance from the filament.", "Å", group=MASK, ge=0
    )
    mask_soft_edge_A: float = setting(
        8.0,
        "Dynamic mask soft edge",
        "From there it falls to 0 over this length (CryoSPARC's far minus near).",
        "Å",
        relion="--width_mask_edge",
        group=MASK,
        ge=0,
    )
    mask_z_clip_fraction: float = setting(
        0.8,
        "Dynamic mask z-clip fraction",
        "Middle part of the box's height that the mask keeps; density at the box's ends is then left out of alignment.",
        relion="--helical_z_percentage",
        group=MASK,
        gt=0,
        le=1,
    )

    gsfsc_split_res_A: float = setting(
        20.0,
        "GSFSC split resolution",
        "Half maps are independent only beyond this resolution, so that they do not drift apart. 13 to 15 Å may suit "
        "thin filaments and small asymmetric units.",
        "Å",
        relion="--low_resol_join_halves",
        group=FSC,
        gt=0,
    )
    low_resolution_join_A: Length = setting(
        None,
        "Resolution of joining at first",
        "Until the halves agree this far, they share their reference up to here. Empty: 12 Å, as far as the "
        "search over all orientations looks, which decides on azimuth and polarity; never coarser than the split.",
        "Å",
        group=FSC,
    )
    hr_noise_substitution: bool = setting(
        True,
        "Do high-resolution noise substitution in FSC computation",
        "Correct the masked FSC for what the mask itself correlates, by randomised phases.",
        group=FSC,
    )

    filament_coherence: bool = setting(
        True,
        "Filament coherence",
        "Segments of one filament share its polarity, and their poses lie on its lattice and change slowly along it; "
        "how slowly is read from the poses themselves. Needs coordinates and track lengths. Off, each segment is "
        "on its own.",
        group=ALIGNMENT,
    )
    tilt_prior_sd_deg: float = setting(
        5.0,
        "Spread of tilt",
        "Standard deviation about 90°; three of them are searched to both sides.",
        "deg",
        relion="--sigma_tilt",
        group=ALIGNMENT,
        ge=0,
        le=30,
    )
    psi_prior_sd_deg: float = setting(
        10.0 / 3.0,
        "Spread of psi",
        "Standard deviation about the psi prior and its opposite; three of them are searched.",
        "deg",
        relion="--sigma_psi",
        group=ALIGNMENT,
        gt=0,
        le=60,
    )
    shift_range_across_A: float = setting(
        10.0,
        "Largest shift across",
        "Farthest that a filament may lie beside the middle of its box.",
        "Å",
        relion="--offset_range",
        group=ALIGNMENT,
        ge=0,
    )
    shift_range_along_A: Annotated[float, Field(ge=0)] | None = setting(
        None,
        "Largest shift along the axis",
        "Empty: half a rise, since farther shifts repeat another azimuth; where no symmetry is imposed as across, or "
        "half the distance of segments if that is more.",
        "Å",
        group=ALIGNMENT,
    )
    extra_final_passes: int = setting(
        0,
        "Number of extra final passes",
        "Iterations after the GSFSC has stopped improving.",
        group=ALIGNMENT,
        ge=0,
    )
    max_iterations_below_6A: int = setting(
        12,
        "Maximum number of iterations below 6A",
        "Iterations allowed while the GSFSC resolution is still worse than 6 Å.",
        group=ALIGNMENT,
        ge=1,
    )
    max_iterations: int = setting(
        50, "Maximum number of iterations", "The run ends after these, converged or not.", relion="--iter",
        group=ALIGNMENT, ge=1,
    )  # fmt: skip

    noise_per_optics_group: bool = setting(
        True,
        "Noise by optics group",
        "Estimate the noise's spectrum for each optics group; off, one for all.",
        group=NOISE,
    )

    seed: int = setting(
        0,
        "Seed",
        "Of the half-sets and random azimuths: the same seed, the same run.",
        relion="--random_seed",
        group=COMPUTE,
        editable=False,
        ge=0,
    )
    batch_size: Annotated[int, Field(ge=1)] | None = setting(
        None,
        "Images in a batch",
        "Read and aligned together, on all devices. Empty: by free memory.",
        relion="--pool",
        group=COMPUTE,
        editable=False,
    )
    drop_bad_images: bool = setting(
        False,
        "Leave out bad images",
        "Images that are not finite, empty or without noise around the particle, and rows without CTF, are named and "
        "left out; off, they end the run.",
        group=COMPUTE,
        editable=False,
    )

    @property
    def symmetry(self) -> HelicalSymmetry | None:
        """The estimate; None where no helical symmetry is imposed (the point group may be, all the same)."""
        if self.twist_deg is None or self.rise_A is None:
            return None
        return HelicalSymmetry(self.twist_deg, self.rise_A, self.point_group)

    def search_ranges(self, latest: HelicalSymmetry | None = None) -> tuple[Range, Range]:
        """Smallest and largest twist in degrees and rise in Å of the local search.

        Parameters
        ----------
        latest : HelicalSymmetry, optional
            Of the last iteration: the centre if the search grid is not fixed.

        Raises
        ------
        HelixLabError
            If no symmetry is imposed.

        Examples
        --------
        >>> settings = RefinementSettings(twist_deg=30, rise_A=10, rise_search_range_A=(9.8, 10.6))
        >>> settings.search_ranges()
        ((27.0, 33.0), (9.8, 10.6))
        """
        estimate = self.symmetry
        if estimate is None:
            raise HelixLabError("twist_deg, rise_A: found neither; a symmetry search starts from both.")
        extent_A = self.rise_search_extent_fraction * estimate.rise_A
        twists = self.twist_search_range_deg or _about(estimate.twist_deg, self.twist_search_extent_deg)
        rises = self.rise_search_range_A or _about(estimate.rise_A, extent_A)
        if self.fix_search_grid or latest is None:
            return twists, rises
        half_rise_A = (rises[1] - rises[0]) / 2
        low_A, high_A = _about(latest.rise_A, half_rise_A)
        return _about(latest.twist_deg, (twists[1] - twists[0]) / 2), (max(low_A, latest.rise_A / 2), high_A)

    def check_editable(self, changes: Mapping[str, Any]) -> None:
        """Raise a HelixLabError that names the settings among these which cannot change during a run."""
        fixed = {entry["name"] for entry in self.described() if not entry["editable"]} & set(changes)
        if fixed:
            raise HelixLabError(
                f"{', '.join(sorted(fixed))}: decided when the run starts; begin a new run with another value."
            )

    @field_validator("rise_A", mode="before")
    @classmethod
    def _positive_rise(cls, value: Any) -> Any:
        if isinstance(value, int | float) and value <= 0:
            HelicalSymmetry(0.0, value)  # refuses it, in the words that are used everywhere
        return value

    @field_validator("point_group")
    @classmethod
    def _known_point_group(cls, value: str) -> str:
        family, order = parse_point_group(value)
        return f"{family}{order}"

    @model_validator(mode="after")
    def _fits_together(self) -> "RefinementSettings":
        if (self.twist_deg is None) != (self.rise_A is None):
            given, missing = ("twist_deg", "rise_A") if self.rise_A is None else ("rise_A", "twist_deg")
            raise ValueError(
                f"{missing}: missing, with {given} {getattr(self, given)}; give both, or neither for an asymmetric "
                "refinement."
            )
        if self.symmetry is None:
            for name in ("max_symmetry_order", "twist_search_range_deg", "rise_search_range_A"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: found {getattr(self, name)} without twist_deg and rise_A; give these.")
        _check_range("twist_search_range_deg", self.twist_search_range_deg, "twist_deg", self.twist_deg)
        _check_range("rise_search_range_A", self.rise_search_range_A, "rise_A", self.rise_A)
        if self.rise_search_range_A is not None and self.rise_search_range_A[0] <= 0:
            raise ValueError(f"rise_search_range_A: found a lower end of {self.rise_search_range_A[0]}; it is above 0.")
        _check_diameters("", self.inner_diameter_A, self.outer_diameter_A)
        _check_diameters("cylinder_", self.cylinder_inner_diameter_A, self.cylinder_outer_diameter_A)
        if self.use_cylindrical_model and self.cylinder_outer_diameter_A is None:
            raise ValueError("cylinder_outer_diameter_A: missing; use_cylindrical_model needs the tube's diameter.")
        return self


def _about(centre: float, extent: float) -> Range:
    """Rounded, so that 30 ± 3 reads 27 to 33."""
    return round(centre - extent, 9), round(centre + extent, 9)


def _check_range(name: str, limits: Range | None, estimate_name: str, estimate: float | None) -> None:
    if limits is None:
        return
    low, high = limits
    if not low < high:
        raise ValueError(f"{name}: found {low} to {high}; give the smaller value first.")
    if estimate is not None and not low <= estimate <= high:
        raise ValueError(f"{name}: found {low} to {high}, without {estimate_name} {estimate}; widen it.")


def _check_diameters(prefix: str, inner_A: float | None, outer_A: float | None) -> None:
    if inner_A is not None and outer_A is not None and inner_A >= outer_A:
        raise ValueError(
            f"{prefix}inner_diameter_A: found {inner_A}; it must be below {prefix}outer_diameter_A {outer_A}."
        )
