"""Procedural material for synthetic scenes: colour palettes, patterned textures, outlines.

Everything is a function of the generator it is handed, so a seed gives the same picture again.

Shape legend: H height, W width, S side of a square in pixels, K palette entries, P points of an
outline, 3 the channels (CIE Lab or RGB).
"""

from collections.abc import Callable

import cv2
import numpy as np

Generator = np.random.Generator

# Every palette has the same spread of lightness, so that brightness does not tell surfaces apart.
_LIGHTNESS_RANGE = (36.0, 80.0)


def smooth_noise(
    rng: Generator, height: int, width: int, cell_px: float, octaves: int = 3
) -> np.ndarray:
    """Multi-octave value noise, float32 [H, W], zero mean, unit standard deviation.

    The coarsest octave varies over `cell_px` pixels; each further one is half as wide and high.
    """
    noise_HW = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cell = max(cell_px / 2**octave, 1.0)
        rows, columns = int(np.ceil(height / cell)) + 3, int(np.ceil(width / cell)) + 3
        grid = rng.standard_normal((rows, columns)).astype(np.float32)
        corner = rng.uniform(0.5, 1.5, size=2)
        to_grid = np.array([[1 / cell, 0, corner[0]], [0, 1 / cell, corner[1]]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        noise_HW += cv2.warpAffine(grid, to_grid, (width, height), flags=flags) * 0.5**octave
    noise_HW -= noise_HW.mean()
    scaled_HW: np.ndarray = noise_HW / max(float(noise_HW.std()), 1e-6)
    return scaled_HW


def palette(
    rng: Generator, colours: int, hue_deg: float, hue_span_deg: float, chroma: float
) -> np.ndarray:
    """CIE Lab colours, float32 [K, 3], hues spread over `hue_span_deg` around `hue_deg`.

    The lightness steps are the same in every palette; which hue gets which step is random.
    """
    steps = np.linspace(-0.5, 0.5, colours)
    hues_rad = np.deg2rad(hue_deg + hue_span_deg * steps + rng.uniform(-8, 8, colours))
    chromas = chroma * rng.uniform(0.75, 1.2, colours)
    lightness = rng.permutation(np.linspace(*_LIGHTNESS_RANGE, colours))
    lightness += rng.uniform(-4, 4, colours)
    lab = [lightness, chromas * np.cos(hues_rad), chromas * np.sin(hues_rad)]
    return np.stack(lab, axis=1).astype(np.float32)


def texture(rng: Generator, side: int, palette_K3: np.ndarray, period_px: float) -> np.ndarray:
    """A patterned surface, uint8 RGB [S, S, 3], in the colours of a CIE Lab palette.

    Patches of the palette's colours, about `period_px` apart, are laid out by one of several
    patterns. Each colour has a fine relief of its own in lightness, so that the grey picture
    tells which colour a patch has once it has been seen in colour.
    """
    colours = len(palette_K3)
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
    index_SS = pattern(rng, side, colours, period_px)
    lab_SS3 = palette_K3[index_SS]
    reliefs_KSS = np.stack(
        [_RELIEFS[kind](rng, side) for kind in rng.permutation(len(_RELIEFS))[:colours]]
    )
    relief_SS = np.take_along_axis(reliefs_KSS, index_SS[None], axis=0)[0]
    lab_SS3[..., 0] += 7.0 * relief_SS + 5.0 * smooth_noise(rng, side, side, 2.5 * period_px)
    lab_SS3[..., 1:] *= 1 + 0.12 * smooth_noise(rng, side, side, 2 * period_px)[..., None]
    lab_SS3 = cv2.GaussianBlur(lab_SS3, (0, 0), 0.7)
    rgb_SS3 = cv2.cvtColor(lab_SS3, cv2.COLOR_Lab2RGB)
    return np.rint(np.clip(rgb_SS3, 0, 1) * 255).astype(np.uint8)


def _warped_grid(rng: Generator, side: int, period_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Turned and gently bent coordinates, float32 [S, S] each, in units of `period_px`."""
    y_SS, x_SS = np.mgrid[0:side, 0:side].astype(np.float32) / np.float32(period_px)
    x_SS += 0.35 * smooth_noise(rng, side, side, 2.5 * period_px, octaves=2)
    y_SS += 0.35 * smooth_noise(rng, side, side, 2.5 * period_px, octaves=2)
    angle_rad = rng.uniform(0, np.pi)
    cosine, sine = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    return cosine * x_SS + sine * y_SS, cosine * y_SS - sine * x_SS


def _stripes(rng: Generator, side: int, colours: int, period_px: float) -> np.ndarray:
    u_SS, _ = _warped_grid(rng, side, period_px)
    order = np.concatenate([rng.permutation(colours), rng.permutation(colours)])
    return np.asarray(order[np.floor(u_SS).astype(np.int64) % len(order)])


def _patches(rng: Generator, side: int, colours: int, period_px: float) -> np.ndarray:
    u_SS, v_SS = _warped_grid(rng, side, 1.2 * period_px)
    table = rng.integers(colours, size=(16, 16))
    rows, columns = np.floor(v_SS).astype(np.int64), np.floor(u_SS).astype(np.int64)
    return np.asarray(table[rows % 16, columns % 16])


def _cells(rng: Generator, side: int, colours: int, period_px: float) -> np.ndarray:
    """Voronoi cells around scattered seeds."""
    seeds = max(colours, round((side / (1.15 * period_px)) ** 2))
    image_SS = np.full((side, side), 255, np.uint8)
    points = rng.integers(side, size=(seeds, 2))
    image_SS[points[:, 0], points[:, 1]] = 0
    _, cell_SS = cv2.distanceTransformWithLabels(
        image_SS, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = rng.permutation(np.arange(seeds + 1) % colours)
    return np.asarray(owner[cell_SS % len(owner)])


def _bands(rng: Generator, side: int, colours: int, period_px: float) -> np.ndarray:
    """Contour bands of smooth noise, as in marble."""
    noise_SS = smooth_noise(rng, side, side, 3 * period_px, octaves=2)
    order = np.concatenate([rng.permutation(colours), rng.permutation(colours)])
    return np.asarray(order[np.floor(noise_SS * 2.2).astype(np.int64) % len(order)])


def _rings(rng: Generator, side: int, colours: int, period_px: float) -> np.ndarray:
    u_SS, v_SS = _warped_grid(rng, side, period_px)
    centre = rng.integers(side, size=2)
    radius_SS = np.hypot(u_SS - u_SS[*centre], v_SS - v_SS[*centre])
    sector_SS = np.floor(np.arctan2(v_SS - v_SS[*centre], u_SS - u_SS[*centre]) * 3 / np.pi)
    table = rng.integers(colours, size=(16, 6))
    return np.asarray(table[radius_SS.astype(np.int64) % 16, sector_SS.astype(np.int64) % 6])


def _spots(rng: Generator, side: int, colours: int, period_px: float) -> np.ndarray:
    """Discs of several colours on a ground of two."""
    index_SS = np.where(smooth_noise(rng, side, side, 4 * period_px) > 0, 0, 1).astype(np.uint8)
    for _ in range(round((side / period_px) ** 2 * 0.8)):
        centre = [int(value) for value in rng.integers(side, size=2)]
        radius = int(period_px * rng.uniform(0.3, 0.6))
        cv2.circle(index_SS, centre, radius, int(rng.integers(colours)), -1)
    return index_SS.astype(np.int64)


Pattern = Callable[[Generator, int, int, float], np.ndarray]
_PATTERNS: tuple[Pattern, ...] = (_stripes, _patches, _cells, _bands, _rings, _spots)


def _hatch(rng: Generator, side: int) -> np.ndarray:
    u_SS, _ = _warped_grid(rng, side, rng.uniform(5, 9))
    return np.sign(np.sin(2 * np.pi * u_SS)).astype(np.float32)


def _dots(rng: Generator, side: int) -> np.ndarray:
    u_SS, v_SS = _warped_grid(rng, side, rng.uniform(6, 9))
    waves_SS = np.sin(2 * np.pi * u_SS) * np.sin(2 * np.pi * v_SS)
    return np.where(waves_SS > 0.25, 1.3, -0.5).astype(np.float32)


def _grain(rng: Generator, side: int) -> np.ndarray:
    return smooth_noise(rng, side, side, 3, octaves=1)


def _cloud(rng: Generator, side: int) -> np.ndarray:
    return smooth_noise(rng, side, side, 14, octaves=2)


def _plain(rng: Generator, side: int) -> np.ndarray:
    return np.zeros((side, side), np.float32)


_RELIEFS: tuple[Callable[[Generator, int], np.ndarray], ...] = (
    _hatch,
    _dots,
    _grain,
    _cloud,
    _plain,
)


def outline(rng: Generator, area_px: float) -> np.ndarray:
    """A closed irregular outline around the origin, float64 [P, 2] (x, y), of `area_px` pixels.

    Bent blobs, lobed stars and rounded polygons, longer than wide.
    """
    angle_P = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    kind = rng.integers(3)
    if kind == 2:
        corners = rng.permutation(9)[: rng.integers(5, 8)] * 2 * np.pi / 9
        radii = rng.uniform(0.7, 1.15, len(corners))
        x_P = np.interp(angle_P, corners, radii * np.cos(corners), period=2 * np.pi)
        y_P = np.interp(angle_P, corners, radii * np.sin(corners), period=2 * np.pi)
    else:
        radius_P = _blob_radius(rng, angle_P) if kind == 0 else _star_radius(rng, angle_P)
        x_P, y_P = radius_P * np.cos(angle_P), radius_P * np.sin(angle_P)
    x_P *= rng.uniform(1.0, 1.5)
    y_P += rng.uniform(-0.3, 0.3) * x_P**2
    points_P2 = np.stack([x_P, y_P], axis=1)
    points_P2 -= (points_P2.min(axis=0) + points_P2.max(axis=0)) / 2
    return points_P2 * np.sqrt(area_px / _area(points_P2))


def _blob_radius(rng: Generator, angle_P: np.ndarray) -> np.ndarray:
    waves = [
        rng.uniform(0.1, 0.42) / k * np.cos(k * angle_P + rng.uniform(0, 2 * np.pi))
        for k in range(2, 6)
    ]
    return np.asarray(1 + np.sum(waves, axis=0))


def _star_radius(rng: Generator, angle_P: np.ndarray) -> np.ndarray:
    return np.asarray(1 + rng.uniform(0.16, 0.3) * np.cos(rng.integers(3, 7) * angle_P))


def _area(points_P2: np.ndarray) -> float:
    x_P, y_P = points_P2.T
    return float(abs(np.dot(x_P, np.roll(y_P, -1)) - np.dot(y_P, np.roll(x_P, -1))) / 2)
