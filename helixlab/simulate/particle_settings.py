"""What a user may set in a simulation of filament segments: one class for CLI, JSON and forms."""

from typing import Annotated

from pydantic import Field, model_validator

from helixlab.settings import Settings, setting


class OpticsSettings(Settings):
    """A microscope and its noise: one optics group.

    Raises
    ------
    HelixLabError
        If a value is out of range; it names the setting.

    Examples
    --------
    >>> OpticsSettings(voltage_kV=200, snr=None).cs_mm
    2.7
    """

    voltage_kV: float = setting(300.0, "Acceleration voltage", "Of the microscope.", "kV", gt=0)
    cs_mm: float = setting(2.7, "Spherical aberration", "Of the objective lens.", "mm", ge=0)
    amplitude_contrast: float = setting(0.1, "Amplitude contrast", "Fraction of amplitude contrast.", ge=0, le=1)
    phase_shift_deg: float = setting(0.0, "Phase shift", "Of a phase plate.", "deg", ge=0, le=180)
    bfactor_A2: float = setting(
        0.0,
        "Image B-factor",
        "Damps the signal by exp(-B/4 s²), as movement does; no table of a user says it.",
        "Å²",
        ge=0,
    )
    snr: Annotated[float, Field(gt=0)] | None = setting(
        0.05,
        "Signal-to-noise ratio",
        "Variance of the signal after the CTF over that of the noise, in the whole box, mean over segments; empty: no "
        "noise, and images are not normalised.",
    )
    noise_at_nyquist: float = setting(
        0.5,
        "Noise at Nyquist",
        "Power of shot noise at Nyquist over that at 0: the detector's MTF squared.",
        gt=0,
        le=1,
    )
    solvent_noise: float = setting(
        1.0, "Solvent noise", "Power that solvent adds to shot noise at low frequency, which halves at 1/(20 Å).", ge=0
    )


class ParticleSettings(Settings):
    """Filaments, how they lie in the ice, how they are picked, and the optics groups.

    Raises
    ------
    HelixLabError
        If a value is out of range; it names the setting.

    Examples
    --------
    >>> settings = ParticleSettings(n_filaments=3, segments_per_filament=5, box_px=64)
    >>> settings.n_segments, settings.track_length_A
    (15, 100.0)
    """

    n_filaments: int = setting(30, "Filaments", "Number of filaments.", ge=1)
    segments_per_filament: int = setting(20, "Segments per filament", "Boxes along each filament.", ge=1)
    filaments_per_micrograph: int = setting(4, "Filaments per micrograph", "They share defocus and optics.", ge=1)
    inter_box_distance_A: float = setting(
        25.0, "Inter-box distance", "Between neighbouring boxes along the filament's trace.", "Å", gt=0
    )
    box_px: int = setting(128, "Box size", "Edge of the segments' images.", "px", ge=16)
    pixel_size_A: float = setting(2.0, "Pixel size", "Of the images.", "Å", gt=0)
    outer_radius_A: Annotated[float, Field(gt=0)] | None = setting(
        None, "Outer filament radius", "Density beyond is left out; empty: the model's. A map needs it.", "Å"
    )
    defocus_range_A: tuple[float, float] | None = setting(
        (10_000.0, 25_000.0), "Defocus range", "Of the micrographs, underfocus positive; empty: no CTF.", "Å"
    )
    astigmatism_A: float = setting(400.0, "Largest astigmatism", "U - V is drawn between 0 and this.", "Å", ge=0)
    tilt_sd_deg: float = setting(
        2.0, "Spread of tilt", "Standard deviation about 90° between filaments.", "deg", ge=0, le=15
    )
    psi_spread_deg: float = setting(
        180.0, "Spread of directions", "Filaments' in-plane angles lie within ± this of psi = 0°.", "deg", ge=0, le=180
    )
    bend_deg_per_um: float = setting(
        5.0, "In-plane bend", "Standard deviation of a filament's turn in the image plane.", "deg/µm", ge=0, le=200
    )
    tilt_bend_deg_per_um: float = setting(
        2.0, "Out-of-plane bend", "Standard deviation of a filament's change of tilt.", "deg/µm", ge=0, le=100
    )
    flip_fraction: float = setting(
        0.5, "Flipped filaments", "Probability that a filament is traced from its + to its - end.", ge=0, le=1
    )
    psi_prior_sd_deg: float = setting(1.0, "Error of the psi prior", "Standard deviation.", "deg", ge=0, le=45)
    shift_along_sd_A: float = setting(2.0, "Picking error along", "Standard deviation along the axis.", "Å", ge=0)
    shift_across_sd_A: float = setting(3.0, "Picking error across", "Standard deviation across the axis.", "Å", ge=0)
    optics: tuple[OpticsSettings, ...] = setting(
        (OpticsSettings(),), "Optics groups", "Micrographs take them in turn.", min_length=1
    )
    seed: int = setting(0, "Seed", "The same seed gives the same images.", ge=0)

    @property
    def n_segments(self) -> int:
        """Number of images."""
        return self.n_filaments * self.segments_per_filament

    @property
    def track_length_A(self) -> float:
        """From the first to the last box of a filament."""
        return (self.segments_per_filament - 1) * self.inter_box_distance_A

    @model_validator(mode="after")
    def _ordered_defocus(self) -> "ParticleSettings":
        if self.defocus_range_A is not None and self.defocus_range_A[0] > self.defocus_range_A[1]:
            low, high = self.defocus_range_A
            raise ValueError(f"defocus_range_A: found {low} to {high}; give the smaller value first.")
        return self
