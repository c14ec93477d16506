"""Colours: sRGB to CIE Lab and back, reduction to the cell grid, nearest centroid, one-hot codes.

Lab is CIE Lab under D65 (2 degree observer) in natural units: L in 0..100, a and b roughly -110..110.
This is the readable reference; `pipelines/targets.py` holds the fast path used on a corpus.

Shape suffixes: `...` any leading axes, H, W pixels, h, w cells, K centroids.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from model.cie import (
    LAB_OFFSET,
    LAB_SLOPE,
    LAB_THRESHOLD,
    SRGB_THRESHOLD,
    WHITE_D65_XYZ,
    XYZ_FROM_RGB,
)


def srgb_to_linear(srgb: Tensor) -> Tensor:
    """Undo the sRGB transfer curve; values in 0..1, any shape."""
    return torch.where(srgb <= SRGB_THRESHOLD, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def xyz_from_rgb() -> Tensor:
    """Matrix [3, 3] from linear RGB to XYZ divided by the D65 white point."""
    matrix = torch.tensor(XYZ_FROM_RGB, dtype=torch.float64)
    return matrix / torch.tensor(WHITE_D65_XYZ, dtype=torch.float64)[:, None]


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """uint8 RGB [..., 3, H, W] -> float32 CIE Lab [..., 3, H, W] (formulas of CIE 15)."""
    linear = srgb_to_linear(rgb.to(torch.float32) / 255.0)
    xyz = torch.einsum("ij,...jhw->...ihw", xyz_from_rgb().to(linear), linear)
    f = torch.where(
        xyz > LAB_THRESHOLD,
        xyz.clamp_min(LAB_THRESHOLD) ** (1.0 / 3.0),
        LAB_SLOPE * xyz + LAB_OFFSET,
    )
    fx, fy, fz = f.unbind(dim=-3)
    return torch.stack((116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)), dim=-3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """float CIE Lab [..., 3, H, W] -> uint8 RGB [..., 3, H, W]; colours outside sRGB are clipped."""
    lightness, a, b = lab.to(torch.float32).unbind(dim=-3)
    fy = (lightness + 16.0) / 116.0
    f = torch.stack((fy + a / 500.0, fy, fy - b / 200.0), dim=-3)
    threshold = LAB_THRESHOLD ** (1.0 / 3.0)
    xyz = torch.where(f > threshold, f**3, (f - LAB_OFFSET) / LAB_SLOPE)
    inverse = torch.linalg.inv(xyz_from_rgb()).to(xyz)
    linear = torch.einsum("ij,...jhw->...ihw", inverse, xyz).clamp(0.0, 1.0)
    srgb = torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055
    )
    return (srgb * 255.0).round().clamp(0, 255).to(torch.uint8)


def area_mean(image: Tensor, cells_hw: tuple[int, int]) -> Tensor:
    """Mean over the pixels of each cell: [..., C, H, W] -> [..., C, h, w]."""
    leading = image.shape[:-3]
    flat = image.reshape(-1, *image.shape[-3:])
    return F.adaptive_avg_pool2d(flat, cells_hw).reshape(*leading, -1, *cells_hw)


def nearest_centroid(ab: Tensor, centroids: Tensor) -> Tensor:
    """Index of the nearest centroid in the ab plane: [..., 2, h, w], [K, 2] -> int64 [..., h, w].

    Ties go to the lowest index.
    """
    difference = ab.unsqueeze(-4) - centroids.to(ab)[:, :, None, None]
    return (difference**2).sum(dim=-3).argmin(dim=-3)


def one_hot(codes: Tensor, clusters: int) -> Tensor:
    """Cluster ids [..., h, w] -> float32 one-hot planes [..., K, h, w]."""
    return F.one_hot(codes.long(), clusters).movedim(-1, -3).to(torch.float32)


def colour_codes(rgb: Tensor, centroids: Tensor, cells_hw: tuple[int, int]) -> Tensor:
    """uint8 RGB [..., 3, H, W] -> cluster ids int64 [..., h, w].

    Lab at full resolution, mean over each cell, nearest of the K centroids in ab
    (Vondrick et al. 2018, section 3.2).
    """
    return nearest_centroid(area_mean(rgb_to_lab(rgb), cells_hw)[..., 1:, :, :], centroids)
