"""Colour targets of decoded frames, the fast path for a corpus.

The same function as `model.color.colour_codes` (a test holds them equal): CIE Lab at full resolution,
mean over each cell, nearest of the 16 centroids in ab. OpenCV does the arithmetic because Lab is the
second most costly step after decoding. Means are taken before the linear combinations of CIE 15,
which commute with them.

Shape suffixes: N frames, H, W pixels, h, w cells, K centroids.
"""

import cv2
import numpy as np

from model.cie import LAB_SLOPE, LAB_THRESHOLD, SRGB_THRESHOLD, WHITE_D65_XYZ, XYZ_FROM_RGB

CELL_PX = 8

_SRGB = np.arange(256) / 255
_LINEAR_OF_BYTE = np.where(
    _SRGB <= SRGB_THRESHOLD, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4
).astype(np.float32)
_XYZ_FROM_RGB = (np.array(XYZ_FROM_RGB) / np.array(WHITE_D65_XYZ)[:, None]).astype(np.float32)
_THRESHOLD = float(np.float32(LAB_THRESHOLD))


def cell_lab(frame_HW3: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] -> mean CIE Lab of each 8x8 cell, float32 [H / 8, W / 8, 3]."""
    height, width = frame_HW3.shape[:2]
    xyz = cv2.transform(cv2.LUT(frame_HW3, _LINEAR_OF_BYTE), _XYZ_FROM_RGB)
    # f(t) = cube root above the threshold t0, its tangent below; without a branch this is
    # cbrt(max(t, t0)) + slope * (min(t, t0) - t0).
    # OpenCV compares only the first channel with a number (its stubs know no numbers at all), so all
    # values become one channel. numpy's minimum and maximum take three times as long.
    flat = xyz.reshape(height, width * 3)
    lower = cv2.min(flat, _THRESHOLD).reshape(xyz.shape)  # type: ignore[call-overload]
    upper = cv2.max(flat, _THRESHOLD).reshape(xyz.shape)  # type: ignore[call-overload]
    root = cv2.exp(cv2.log(upper) * np.float32(1 / 3))
    cells = (width // CELL_PX, height // CELL_PX)
    both = cv2.scaleAdd(lower, LAB_SLOPE, root)
    f = cv2.resize(both, cells, interpolation=cv2.INTER_AREA)
    f -= np.float32(LAB_SLOPE * _THRESHOLD)
    fx, fy, fz = f[..., 0], f[..., 1], f[..., 2]
    return np.stack((116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)), axis=-1)


def colour_codes(frame_HW3: np.ndarray, centroids_K2: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] -> cluster ids uint8 [H / 8, W / 8]; ties go to the lowest id."""
    ab = cell_lab(frame_HW3)[..., 1:]
    centroids = centroids_K2.astype(np.float32)
    # |ab - c|^2 without |ab|^2, which is the same for all centroids.
    distance = (centroids**2).sum(axis=1) - 2.0 * (ab.reshape(-1, 2) @ centroids.T)
    return distance.argmin(axis=1).astype(np.uint8).reshape(ab.shape[:2])


def pack_one_hot(codes_Nhw: np.ndarray, clusters: int) -> bytes:
    """Cluster ids [N, h, w] -> one-hot planes [N, K, h, w], eight cells a byte, first cell in the
    most significant bit (numpy's `packbits` order)."""
    planes = codes_Nhw[:, None] == np.arange(clusters, dtype=np.uint8)[:, None, None]
    return np.packbits(planes).tobytes()


def unpack_one_hot(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Inverse of `pack_one_hot`: uint8 [..., bytes] -> uint8 0/1 of [..., *shape].

    `shape` is (N, K, h, w) of one row; its product must be a multiple of 8.
    """
    bits = np.unpackbits(np.ascontiguousarray(packed), axis=-1)
    return bits.reshape(*packed.shape[:-1], *shape)
