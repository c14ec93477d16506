"""What is where in a synthetic scene, and when: outlines, paths, and the masks they give.

Shape legend: H height and W width of the frame in pixels, S side of a square texture, P points of
an outline. Positions are in units of the frame's shorter side, times go from 0 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from model.errors import UserError
from pipelines import textures

SHADOW_REACH = 0.06
_OBJECT_AREA = (0.055, 0.10)  # of the square of the shorter side
_TURN_DEG = 60.0
_SCALE_RANGE = (0.8, 1.25)
_SWAY = 0.04
_VISIBLE_AT_START = 0.02  # of the frame, for every object
_VISIBLE_LATER = 0.01


@dataclass(frozen=True)
class SceneConfig:
    """One scene. Equal configurations give equal frames and masks.

    Raises UserError for a size under 32 or longer than 2:1, objects outside 1..6, no frame, or a
    negative seed.
    """

    seed: int = 0
    height_px: int = 256
    width_px: int = 256
    fps_hz: float = 24.0
    duration_s: float = 3.0
    min_objects: int = 2  # the seed draws how many there are, min_objects..max_objects
    max_objects: int = 3

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px) < 32:
            raise UserError(f"scene: {self.width_px}x{self.height_px} is smaller than 32x32")
        if max(self.height_px, self.width_px) > 2 * self.unit_px:
            raise UserError(f"scene: {self.width_px}x{self.height_px} is longer than 2:1")
        if not 1 <= self.min_objects <= self.max_objects <= 6:
            raise UserError(f"scene: {self.min_objects}..{self.max_objects} objects, 1..6 possible")
        if self.fps_hz <= 0 or self.frames < 1:
            raise UserError(f"scene: no frame in {self.duration_s} s at {self.fps_hz} Hz")
        if self.seed < 0:
            raise UserError(f"scene: seed {self.seed} is negative")

    @property
    def frames(self) -> int:
        """Number of frames."""
        return round(self.duration_s * self.fps_hz)

    @property
    def unit_px(self) -> int:
        """The frame's shorter side."""
        return min(self.height_px, self.width_px)


@dataclass(frozen=True)
class Motion:
    """A swaying path through three points with a steady turn and change of scale."""

    path: np.ndarray  # [3, 2]: (x, y) at the times 0, 1/2 and 1
    sway: np.ndarray  # [3, 2]: amplitude, cycles in the scene, phase in radians; of x and of y
    angle_deg: tuple[float, float]  # at the times 0 and 1
    scale: tuple[float, float]

    def matrix(self, time: float, unit_px: float, side_px: int) -> np.ndarray:
        """Affine [2, 3] from the pixels of a texture of `side_px` to those of the frame."""
        parabola = ((1 - time) * (1 - 2 * time), 4 * time * (1 - time), time * (2 * time - 1))
        amplitude, cycles, phase_rad = self.sway
        position = parabola @ self.path
        position += amplitude * np.sin(2 * np.pi * cycles * time + phase_rad)
        angle_rad = np.deg2rad(np.interp(time, (0, 1), self.angle_deg))
        scale = np.exp(np.interp(time, (0, 1), np.log(self.scale)))
        cosine, sine = scale * np.cos(angle_rad), scale * np.sin(angle_rad)
        linear = np.array([[cosine, -sine], [sine, cosine]])
        centre = np.full(2, (side_px - 1) / 2)
        return np.column_stack([linear, position * unit_px - linear @ centre])


def draw_sway(rng: np.random.Generator, amplitude: float) -> np.ndarray:
    """A random sway of one to four cycles, [3, 2] as in `Motion`."""
    phases_rad = rng.uniform(0, 2 * np.pi, 2)
    return np.stack([amplitude * rng.uniform(0.6, 1, 2), rng.uniform(1.5, 4, 2), phases_rad])


@dataclass(frozen=True)
class SceneObject:
    """A shape and its path."""

    number: int  # in the mask, from 1; says nothing of the distance
    outline_P2: np.ndarray  # (x, y) in texture pixels
    opacity_SS: np.ndarray  # uint8
    motion: Motion

    def matrix(self, time: float, unit_px: float) -> np.ndarray:
        """Affine [2, 3] from texture to frame."""
        return self.motion.matrix(time, unit_px, len(self.opacity_SS))

    def window(
        self, matrix: np.ndarray, config: SceneConfig, margin_px: float
    ) -> tuple[slice, slice]:
        """Columns and rows of the frame that hold the object and a margin; may be empty."""
        points_P2 = self.outline_P2 @ matrix[:, :2].T + matrix[:, 2]
        size = np.array([config.width_px, config.height_px])
        low = np.clip(np.floor(points_P2.min(axis=0) - margin_px).astype(int), 0, size)
        high = np.clip(np.ceil(points_P2.max(axis=0) + margin_px).astype(int) + 1, low, size)
        return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def layout(rng: np.random.Generator, config: SceneConfig) -> list[SceneObject]:
    """Objects with their paths, the farthest first.

    Drawn again until every object is visible in the first frame and hardly ever vanishes later.
    """
    while True:
        count = int(rng.integers(config.min_objects, config.max_objects + 1))
        numbers = 1 + rng.permutation(count)
        objects = [
            _object(rng, config.unit_px, path, int(number))
            for path, number in zip(
                rng.permutation(_paths(rng, config, count)), numbers, strict=True
            )
        ]
        masks = [visible_mask(config, objects, time) for time in np.linspace(0, 1, 9)]
        counts = np.array([np.bincount(mask.ravel(), minlength=count + 1) for mask in masks])
        shares = counts[:, 1:] / masks[0].size
        if shares[0].min() >= _VISIBLE_AT_START and shares.min() >= _VISIBLE_LATER:
            return objects


def visible_mask(config: SceneConfig, objects: Sequence[SceneObject], time: float) -> np.ndarray:
    """The nearest object's number in each pixel, uint8 [H, W], 0 where there is none.

    An object is where its opacity is at least a half.
    """
    mask_HW = np.zeros((config.height_px, config.width_px), np.uint8)
    for item in objects:
        matrix = item.matrix(time, config.unit_px)
        columns, rows = item.window(matrix, config, margin_px=1.0)
        window_HW = mask_HW[rows, columns]
        if window_HW.size:
            opacity_HW = warp(item.opacity_SS, matrix, columns, rows)
            window_HW[opacity_HW >= 128] = item.number
    return mask_HW


def warp(texture_SS: np.ndarray, matrix: np.ndarray, columns: slice, rows: slice) -> np.ndarray:
    """The part of the frame in the window, from a texture through an affine [2, 3]."""
    local = matrix - np.array([[0, 0, columns.start], [0, 0, rows.start]])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    warped: np.ndarray = cv2.warpAffine(texture_SS, local, size)
    return warped


def _paths(rng: np.random.Generator, config: SceneConfig, count: int) -> np.ndarray:
    """Three (x, y) each, [count, 3, 2]: the first two cross, the others circle the middle."""
    extent = np.array([config.width_px, config.height_px]) / config.unit_px
    crossing = extent / 2 + rng.uniform(-0.08, 0.08, 2)
    aside = _polar(rng.uniform(0.05, 0.085), rng.uniform(0, 2 * np.pi))
    heading_rad = rng.uniform(0, 2 * np.pi)
    paths = []
    for number in range(count):
        if number < 2:
            middle = crossing + (aside if number == 0 else -aside)
            heading_rad += number * np.deg2rad(rng.uniform(80, 180))
            back_rad = heading_rad + np.pi + rng.uniform(-0.5, 0.5)
            start = middle + _polar(rng.uniform(0.24, 0.34), heading_rad)
            end = middle + _polar(rng.uniform(0.24, 0.34), back_rad)
        else:
            around_rad = rng.uniform(0, 2 * np.pi)
            way_rad = rng.choice([-1, 1]) * np.deg2rad(rng.uniform(60, 110))
            start, middle, end = (
                extent / 2 + extent * _polar(rng.uniform(0.3, 0.36), around_rad + part * way_rad)
                for part in (-0.5, 0.0, 0.5)
            )
        paths.append(np.clip([start, middle, end], 0.13, extent - 0.13))
    return np.array(paths)


def _polar(radius: float, angle_rad: float) -> np.ndarray:
    return radius * np.array([np.cos(angle_rad), np.sin(angle_rad)])


def _object(rng: np.random.Generator, unit_px: int, path: np.ndarray, number: int) -> SceneObject:
    """A random shape with rounded corners; the texture's margin leaves room for a shadow."""
    outline_P2 = textures.outline(rng, rng.uniform(*_OBJECT_AREA) * unit_px**2)
    side = 2 * int(np.ceil(np.abs(outline_P2).max() + SHADOW_REACH * unit_px))
    outline_P2 += (side - 1) / 2
    opacity_SS = np.zeros((side, side), np.uint8)
    corners = np.rint(outline_P2 * 16).astype(np.int32)  # in sixteenths of a pixel
    cv2.fillPoly(opacity_SS, [corners], 255, cv2.LINE_AA, shift=4)
    # Blurring and steepening rounds the corners.
    soft_SS = cv2.GaussianBlur(opacity_SS, (0, 0), 0.014 * unit_px).astype(np.float32)
    opacity_SS = np.clip((soft_SS - 127.5) * 4 + 127.5, 0, 255).astype(np.uint8)
    angle_deg = rng.uniform(0, 360)
    turn_deg = rng.uniform(0.25, 1) * _TURN_DEG * rng.choice([-1, 1])
    sway = draw_sway(rng, _SWAY)
    motion = Motion(
        path, sway, (angle_deg, angle_deg + turn_deg), (1.0, rng.uniform(*_SCALE_RANGE))
    )
    return SceneObject(number, outline_P2, opacity_SS, motion)
