"""Which way each segment lies: a list of weighted poses, one or several for each image."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from helixlab.geometry import HelicalSymmetry
from helixlab.geometry.pose import euler_to_matrix, matrix_to_euler, rotation_vector_to_matrix
from helixlab.kernels.bands import frame_shifts


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses in the images' frames; the weights of an image's poses sum to one.

    Parameters
    ----------
    image : int array, shape (p,)
        Rows of the images, ascending, the best pose of each first.
    is_flipped : bool array, shape (p,)
        The image was turned by 180°: the filament runs against its psi prior.
    angles_deg : float array, shape (p, 3)
        Rot, tilt, and the psi left in the frame.
    shift_px : float array, shape (p, 2)
        Along and across the filament, of the image as it was turned.
    weight : float array, shape (p,)
        Posterior probability.
    """

    image: Int[np.ndarray, "p"]
    is_flipped: Bool[np.ndarray, "p"]
    angles_deg: Float[np.ndarray, "p 3"]
    shift_px: Float[np.ndarray, "p 2"]
    weight: Float[np.ndarray, "p"]

    def __len__(self) -> int:
        return len(self.image)

    def select(self, chosen: np.ndarray) -> "Poses":
        """Some of them, by number or mask."""
        return Poses(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    @property
    def is_best(self) -> Bool[np.ndarray, "p"]:
        """Whether a pose is the most probable one of its image."""
        return np.diff(self.image, prepend=-1) != 0

    @property
    def best(self) -> "Poses":
        """The most probable pose of each image."""
        return self.select(self.is_best)

    @property
    def matrices(self) -> Float[np.ndarray, "p 3 3"]:
        """Rotation matrices in the frames, float32."""
        return euler_to_matrix(*self.angles_deg.T).astype(np.float32)

    def in_images(self, psi_prior_deg: Float[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray]:
        """RELION's (rot, tilt, psi) in degrees and shifts (x, y) in pixels, of the images as they are.

        Parameters
        ----------
        psi_prior_deg : float array, shape (n,)
            Of all images.
        """
        frame_deg = psi_prior_deg[self.image] + 180.0 * self.is_flipped
        angles = self.angles_deg + np.stack([0 * frame_deg, 0 * frame_deg, frame_deg], axis=1)
        shifts = np.asarray(frame_shifts(*(jnp.asarray(a, jnp.float32) for a in (self.shift_px, -frame_deg))))
        return (angles + 180.0) % 360.0 - 180.0, shifts

    def upright(self, sd: Float[np.ndarray, "4"]) -> "Poses":
        """The same views of the map turned and moved so that poses are nearest to their priors.

        Nothing else holds the axis of a map without symmetry in its place. In each frame it is to lie in the image
        plane (tilt 90°), at psi 0 and shift 0: a problem of least squares.

        Parameters
        ----------
        sd : float array, shape (4,)
            Spread of tilt and psi in one unit, of shifts along and across in one unit; > 0.
        """
        matrices = euler_to_matrix(*self.angles_deg.T)
        lean = _least_squares(matrices[:, 2, :2], -matrices[:, 2, 2], matrices[:, 1, :2], -matrices[:, 1, 2], sd[:2])
        move = _least_squares(matrices[:, 0], self.shift_px[:, 0], matrices[:, 1], self.shift_px[:, 1], sd[2:])
        # The axis now points along (lean, 1).
        lean *= np.arctan(np.hypot(*lean)) / max(np.hypot(*lean), 1e-12)
        turn = rotation_vector_to_matrix(np.array([[-lean[1], lean[0], 0.0]]))[0]
        angles = np.stack(matrix_to_euler(matrices @ turn), axis=1)
        angles[:, 2] = (angles[:, 2] + 180.0) % 360.0 - 180.0
        return Poses(self.image, self.is_flipped, angles, self.shift_px - (matrices @ move)[:, :2], self.weight)

    def within_one_unit(self, symmetry: HelicalSymmetry, pixel_size_A: float) -> "Poses":
        """The equivalent poses that see the central asymmetric unit: shifts along the axis within ± rise/2.

        In a frame the axis points along (−cos psi, sin psi): a step of the screw moves the filament by rise·sin(tilt)
        along it and turns rot by the twist, and the shift that centres it does the opposite.
        """
        rise_px = symmetry.rise_A / pixel_size_A * np.sin(np.deg2rad(self.angles_deg[:, 1]))
        steps = np.rint(np.sum(self.shift_px * self.axes[:, 0], axis=1) / rise_px)
        return self.along_screw(symmetry, pixel_size_A, steps)

    def along_screw(self, symmetry: HelicalSymmetry, pixel_size_A: float, steps: Float[np.ndarray, "p"]) -> "Poses":
        """The poses some steps of a screw further, rot in [0°, 360°): whole steps are equivalent, parts of them not."""
        return self.moved(steps * symmetry.twist_deg, steps * symmetry.rise_A / pixel_size_A)

    def moved(self, turn_deg: Float[np.ndarray, "p"], rise_px: Float[np.ndarray, "p"]) -> "Poses":
        """The same views of a map that was turned about its axis by ``turn_deg`` and moved along it by ``rise_px``."""
        seen_px = rise_px * np.sin(np.deg2rad(self.angles_deg[:, 1]))
        angles = self.angles_deg.copy()
        angles[:, 0] = (angles[:, 0] + turn_deg) % 360.0
        return Poses(
            self.image, self.is_flipped, angles, self.shift_px - seen_px[:, None] * self.axes[:, 0], self.weight
        )

    @property
    def axes(self) -> Float[np.ndarray, "p 2 2"]:
        """Unit vectors in the frames: against the direction of the filament's axis, and across it.

        Shifts centre an image: the map's origin lies at minus the shift. Along the axis it lies, therefore, at the
        shift's product with the first of them.
        """
        psi_rad = np.deg2rad(self.angles_deg[:, 2])
        cos, sin = np.cos(psi_rad), np.sin(psi_rad)
        return np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)


def joined_poses(parts: list[Poses]) -> Poses:
    """The poses of several sets of images in one list."""
    whole = Poses(*(np.concatenate([getattr(p, name) for p in parts]) for name in Poses.__dataclass_fields__))
    return whole.select(np.lexsort((-whole.weight, whole.image)))


def _least_squares(
    rows1: Float[np.ndarray, "p k"],
    values1: Float[np.ndarray, "p"],
    rows2: Float[np.ndarray, "p k"],
    values2: Float[np.ndarray, "p"],
    sd: Float[np.ndarray, "2"],
) -> Float[np.ndarray, "k"]:
    """The solution of two sets of equations with errors of their own."""
    rows = np.concatenate([rows1 / sd[0], rows2 / sd[1]])
    return np.linalg.lstsq(rows, np.concatenate([values1 / sd[0], values2 / sd[1]]), rcond=None)[0]
