"""Is this map what it claims to be? FSC."""

from helixlab.validate.fsc import Crossing, FSCCurve, FSCResult, compute_fsc

__all__ = ["Crossing", "FSCCurve", "FSCResult", "compute_fsc"]
