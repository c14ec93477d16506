"""Synthetic scenes with exact masks: textured objects that move, turn and cross over a background.

Made so that tracking can be learnt from them in minutes and yet is not given away: all surfaces
have the same spread of lightness, drifting light changes their grey but hardly their hue, two
objects of every scene cross, and the camera moves.

Shape legend: H height and W width of the frame in pixels, S side of a square texture, 3 R, G, B,
4 R, G, B and opacity.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from model.errors import UserError
from pipelines import textures
from pipelines.labels import davis
from pipelines.scene_layout import (
    SHADOW_REACH,
    Motion,
    SceneConfig,
    SceneObject,
    draw_sway,
    layout,
    visible_mask,
    warp,
)
from pipelines.video import write_h264

__all__ = ["SceneConfig", "render_scene", "write_annotated", "write_corpus"]

_CAMERA_SWAY = 0.1  # of the shorter side
_LIGHT_DEPTH = 0.25  # how much darker shade is than light
_SHADOW_DEPTH = 0.75
_NOISE_LEVELS = 2.5  # standard deviation of the sensor noise, of 255
_NOISE_SHIFT_PX = 32


@dataclass(frozen=True)
class _Light:
    """A pattern of light and shade that drifts over the scene."""

    shade_SS: np.ndarray
    velocity: np.ndarray  # (x, y) in texture pixels per scene
    texels_per_pixel: float

    def at(self, time: float, config: SceneConfig) -> np.ndarray:
        """Shade, float32 [H, W]."""
        corner = len(self.shade_SS) / 4 + self.velocity * time
        to_texture = np.column_stack([np.eye(2) * self.texels_per_pixel, corner])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (config.width_px, config.height_px)
        shade: np.ndarray = cv2.warpAffine(
            self.shade_SS, to_texture, size, flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        return shade


def render_scene(config: SceneConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (uint8 RGB [H, W, 3], uint8 mask [H, W]) for every frame.

    The mask is of the visible surfaces: 0 background, 1..n the objects; nearer ones hide farther
    ones, whatever their numbers. Every object covers at least 1 % of the first frame.
    """
    objects = layout(np.random.default_rng([config.seed, 0]), config)
    rng = np.random.default_rng([config.seed, 1])
    hues_deg = rng.uniform(0, 360) + np.arange(len(objects) + 1) * 360 / (len(objects) + 1)
    ground_SS3, camera = _ground(rng, config, hues_deg[0])
    skins = [
        _skin(rng, item.opacity_SS, hue_deg, config.unit_px)
        for item, hue_deg in zip(objects, hues_deg[1:], strict=True)
    ]
    lights = [_light(rng, config) for _ in range(2)]
    phase_rad = rng.uniform(0, 2 * np.pi)
    noise_HW3 = _sensor_noise(rng, config)
    size = (config.width_px, config.height_px)
    for index in range(config.frames):
        time = index / max(config.frames - 1, 1)
        matrix = camera.matrix(time, config.unit_px, len(ground_SS3))
        scene_HW3 = cv2.warpAffine(ground_SS3, matrix, size, borderMode=cv2.BORDER_REFLECT_101)
        frame_HW3 = scene_HW3.astype(np.float32)
        for item, skin_SS4 in zip(objects, skins, strict=True):
            _draw(frame_HW3, item, skin_SS4, item.matrix(time, config.unit_px), config)
        shade_HW = lights[0].at(time, config) * lights[1].at(time, config)
        exposure = 1.04 + 0.05 * np.sin(2 * np.pi * time + phase_rad)
        gain_HW = (exposure * (1 - _LIGHT_DEPTH * shade_HW)).astype(np.float32)
        row, column = rng.integers(_NOISE_SHIFT_PX, size=2)
        noise_here_HW3 = noise_HW3[row : row + size[1], column : column + size[0]]
        lit_HW3 = cv2.multiply(frame_HW3, cv2.cvtColor(gain_HW, cv2.COLOR_GRAY2RGB))
        # Rounds and clips.
        rgb_HW3 = cv2.add(lit_HW3, noise_here_HW3, dtype=cv2.CV_8U)
        yield rgb_HW3, visible_mask(config, objects, time)


def _skin(
    rng: np.random.Generator, opacity_SS: np.ndarray, hue_deg: float, unit_px: int
) -> np.ndarray:
    """An object and its shadow: uint8 [S, S, 4], RGB times opacity, and opacity.

    The surface is a little darker towards the rim.
    """
    colours = textures.palette(rng, int(rng.integers(4, 6)), hue_deg, 150, rng.uniform(42, 58))
    period_px = rng.uniform(0.07, 0.11) * unit_px
    rgb_SS3 = textures.texture(rng, len(opacity_SS), colours, period_px)
    depth_SS = cv2.distanceTransform((opacity_SS > 127).astype(np.uint8), cv2.DIST_L2, 5)
    rim_SS = np.clip(depth_SS / (0.045 * unit_px), 0, 1)
    rim_SS = 0.72 + 0.28 * np.sin(rim_SS * np.pi / 2)
    opaque_SS = opacity_SS.astype(np.float32) / 255
    shadow_SS = cv2.GaussianBlur(opaque_SS, (0, 0), 0.4 * SHADOW_REACH * unit_px)
    cover_SS = opaque_SS + (1 - opaque_SS) * _SHADOW_DEPTH * shadow_SS
    colour_SS3 = rgb_SS3 * (rim_SS * opaque_SS)[..., None]
    return np.dstack([colour_SS3, 255 * cover_SS]).round().astype(np.uint8)


def _ground(
    rng: np.random.Generator, config: SceneConfig, hue_deg: float
) -> tuple[np.ndarray, Motion]:
    """The ground's texture, uint8 RGB [S, S, 3], larger than the frame, and the camera's motion."""
    extent = np.array([config.width_px, config.height_px]) / config.unit_px
    side = round(2 * max(config.width_px, config.height_px))
    colours = textures.palette(rng, int(rng.integers(4, 6)), hue_deg, 130, rng.uniform(28, 42))
    ground_SS3 = textures.texture(rng, side, colours, rng.uniform(0.08, 0.13) * config.unit_px)
    pan_rad = rng.uniform(0, 2 * np.pi)
    pan = rng.uniform(0.25, 0.4) * np.array([np.cos(pan_rad), np.sin(pan_rad)])
    path = extent / 2 + np.outer([-1, 0, 1], pan) + rng.uniform(-0.08, 0.08, (3, 2))
    angle_deg = rng.uniform(-12, 12, 2)
    scale = rng.uniform(0.95, 1.2, 2)
    motion = Motion(
        path, draw_sway(rng, _CAMERA_SWAY), (angle_deg[0], angle_deg[1]), (scale[0], scale[1])
    )
    return ground_SS3, motion


def _light(rng: np.random.Generator, config: SceneConfig) -> _Light:
    texels_per_pixel = 48 / config.unit_px
    side = round(2 * texels_per_pixel * max(config.width_px, config.height_px))
    noise_SS = textures.smooth_noise(rng, side, side, rng.uniform(9, 14), octaves=2)
    direction_rad = rng.uniform(0, 2 * np.pi)
    speed = rng.uniform(0.25, 0.5) * 48
    velocity = speed * np.array([np.cos(direction_rad), np.sin(direction_rad)])
    shade_SS = 1 / (1 + np.exp(-2.5 * noise_SS))
    return _Light(shade_SS.astype(np.float32), velocity, texels_per_pixel)


def _sensor_noise(rng: np.random.Generator, config: SceneConfig) -> np.ndarray:
    """Noise larger than the frame, float32 [H + , W + , 3]; each frame shows another part of it."""
    shape = (config.height_px + _NOISE_SHIFT_PX, config.width_px + _NOISE_SHIFT_PX)
    grey_HW1 = rng.standard_normal((*shape, 1), np.float32)
    noise_HW3 = 0.9 * grey_HW1 + 0.4 * rng.standard_normal((*shape, 3), np.float32)
    return np.asarray(_NOISE_LEVELS * noise_HW3)


def _draw(
    frame_HW3: np.ndarray,
    item: SceneObject,
    skin_SS4: np.ndarray,
    matrix: np.ndarray,
    config: SceneConfig,
) -> None:
    """Lays the object and the shadow around it over the frame, in place."""
    reach_px = 1.25 * SHADOW_REACH * config.unit_px
    columns, rows = item.window(matrix, config, reach_px)
    window_HW3 = frame_HW3[rows, columns]
    if window_HW3.size == 0:
        return
    skin_HW4 = warp(skin_SS4, matrix, columns, rows).astype(np.float32)
    through_HW = 1 - skin_HW4[..., 3] / 255
    through_HW3 = cv2.cvtColor(through_HW, cv2.COLOR_GRAY2RGB)
    window_HW3 *= through_HW3
    window_HW3 += cv2.cvtColor(skin_HW4, cv2.COLOR_RGBA2RGB)


def write_corpus(
    folder: Path, videos: int, seed: int, scene: SceneConfig | None = None, processes: int = 1
) -> None:
    """Writes unlabelled training videos `<folder>/scene-NNNNN.mp4`.

    Each is `scene` (by default SceneConfig()) with a seed of its own drawn from `seed`. The videos
    are the same for any number of `processes` and share no scene with those of `write_annotated`.
    """
    names = [f"scene-{index:05d}" for index in range(videos)]
    tasks = [
        _Task(config, folder / f"{name}.mp4", None)
        for name, config in zip(names, _scenes(scene, seed, videos, purpose=0), strict=True)
    ]
    _write_all(tasks, processes)


def write_annotated(
    folder: Path, videos: int, seed: int, scene: SceneConfig | None = None, processes: int = 1
) -> None:
    """Writes `<folder>/videos/scene-NNNNN.mp4` and `<folder>/masks/scene-NNNNN/NNNNN.png`.

    There is an index mask for every frame; a video appears after its last mask. Otherwise as
    `write_corpus`.
    """
    names = [f"scene-{index:05d}" for index in range(videos)]
    tasks = [
        _Task(config, folder / "videos" / f"{name}.mp4", folder / "masks" / name)
        for name, config in zip(names, _scenes(scene, seed, videos, purpose=1), strict=True)
    ]
    _write_all(tasks, processes)


@dataclass(frozen=True)
class _Task:
    config: SceneConfig
    video: Path
    masks: Path | None


def _scenes(scene: SceneConfig | None, seed: int, videos: int, purpose: int) -> list[SceneConfig]:
    if seed < 0:
        raise UserError(f"scene: seed {seed} is negative")
    seeds = np.random.SeedSequence([seed, purpose]).generate_state(max(videos, 1))[:videos]
    return [replace(scene or SceneConfig(), seed=int(value)) for value in seeds]


def _write_all(tasks: list[_Task], processes: int) -> None:
    for folder in {
        folder for task in tasks for folder in (task.video.parent, task.masks) if folder
    }:
        folder.mkdir(parents=True, exist_ok=True)
    if processes <= 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # as in the workers: rounding depends on how OpenCV splits its rows
        try:
            for task in tasks:
                _write(task)
        finally:
            cv2.setNumThreads(threads)
        return
    # Spawned, not forked: the caller may run threads (Ray does). One OpenCV thread in each.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, cv2.setNumThreads, (1,)) as pool:
        list(pool.map(_write, tasks))


def _write(task: _Task) -> None:
    write_h264(task.video, _frames_keeping_masks(task), task.config.fps_hz)


def _frames_keeping_masks(task: _Task) -> Iterator[np.ndarray]:
    """The scene's frames; each frame's mask is written as the frame goes by."""
    for index, (frame_HW3, mask_HW) in enumerate(render_scene(task.config)):
        if task.masks is not None:
            davis.write_mask(task.masks / f"{index:05d}.png", mask_HW)
        yield frame_HW3
