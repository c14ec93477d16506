"""Pictures for people: masks over frames, recoloured video, embeddings as colours."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from model.color import lab_to_rgb, rgb_to_lab
from model.colorizer import Colorizer, normalise_grey
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from model.propagation.colours import ColourPropagator
from model.propagation.encoders import ColorizerEncoder, luma
from model.propagation.protocols import get_protocol
from pipelines.labels.davis import davis_palette
from pipelines.object_colours import object_rgb, palette_index
from pipelines.skeletons import bones_between

WHITE = (255, 255, 255)


def drawn(frame_HW3: np.ndarray, labels: Annotation) -> np.ndarray:
    """Frame with its labels over it, each object in its colour: uint8 RGB [H, W, 3].

    A person with J-HMDB's or COCO's joints gets the bones between those that are seen, in its colour;
    joints have a colour each, so that left and right can be told apart.
    """
    if isinstance(labels, MaskAnnotation):
        return overlay(frame_HW3, labels.ids_HW)
    picture = np.ascontiguousarray(frame_HW3).copy()
    thick_px = max(1, min(frame_HW3.shape[:2]) // 200)
    if isinstance(labels, BoxAnnotation):
        for label, (x, y, width, height) in zip(labels.ids, labels.xywh_px_N4, strict=True):
            if np.isfinite([x, y, width, height]).all():
                corners = (round(x), round(y)), (round(x + width) - 1, round(y + height) - 1)
                cv2.rectangle(picture, *corners, object_rgb(label), thick_px)
    elif isinstance(labels, KeypointAnnotation):
        for label, joints_K2 in zip(labels.ids, labels.xy_px_NK2, strict=True):
            spots = [_spot(xy_px) for xy_px in joints_K2]
            _draw_bones(picture, spots, object_rgb(label), thick_px)
            for joint, spot in enumerate(spots, start=1):
                _draw_spot(picture, spot, object_rgb(joint), thick_px)
    elif isinstance(labels, PointAnnotation):
        for label, xy_px in zip(labels.ids, labels.seen_px, strict=True):
            _draw_spot(picture, _spot(xy_px), object_rgb(label), thick_px)
    return picture


def _spot(xy_px: np.ndarray) -> tuple[int, int] | None:
    """The pixel of a joint or point; None where it is not seen."""
    return (round(xy_px[0]), round(xy_px[1])) if np.isfinite(xy_px).all() else None


def _draw_spot(
    picture: np.ndarray, spot: tuple[int, int] | None, rgb: tuple[int, int, int], thick_px: int
) -> None:
    if spot is not None:
        cv2.circle(picture, spot, 3 * thick_px, WHITE, -1)
        cv2.circle(picture, spot, 2 * thick_px, rgb, -1)


def _draw_bones(
    picture: np.ndarray,
    spots: Sequence[tuple[int, int] | None],
    rgb: tuple[int, int, int],
    thick_px: int,
) -> None:
    for bone in bones_between(len(spots)):
        one, other = (spots[joint] for joint in bone)
        if one is not None and other is not None:
            cv2.line(picture, one, other, WHITE, 3 * thick_px, cv2.LINE_AA)
            cv2.line(picture, one, other, rgb, thick_px, cv2.LINE_AA)


def overlay(frame_HW3: np.ndarray, mask_HW: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Frame with each object tinted in its palette colour and outlined."""
    mask_HW = np.where(mask_HW > 0, palette_index(mask_HW), np.uint8(0))
    colours = davis_palette()[mask_HW]
    tinted = cv2.addWeighted(frame_HW3, 1 - opacity, colours, opacity, 0)
    picture = np.where((mask_HW > 0)[..., None], tinted, frame_HW3)
    inner = cv2.erode(mask_HW, np.ones((3, 3), np.uint8))
    outline = (mask_HW != inner) | (mask_HW != cv2.dilate(mask_HW, np.ones((3, 3), np.uint8)))
    picture[outline & (mask_HW > 0)] = colours[outline & (mask_HW > 0)]
    return picture


def _squashed(frames: Iterable[np.ndarray], side_px: int, most_frames: int) -> list[torch.Tensor]:
    """The first frames of a video as uint8 RGB [3, S, S]."""
    resized = (
        cv2.resize(frame, (side_px, side_px), interpolation=cv2.INTER_AREA)
        for frame in islice(frames, most_frames)
    )
    return [torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1) for frame in resized]


def painted(frame_HW3: np.ndarray, ab_2HW: torch.Tensor) -> np.ndarray:
    """The lightness of a frame with other colours, ab of CIE Lab: uint8 RGB [H, W, 3]."""
    lightness = rgb_to_lab(torch.from_numpy(frame_HW3).permute(2, 0, 1))[:1]
    picture = lab_to_rgb(torch.cat((lightness, ab_2HW.cpu())))
    return picture.permute(1, 2, 0).contiguous().numpy()


def recoloured(
    frames: Iterable[np.ndarray],
    colorizer: Colorizer,
    *,
    side_px: int = 256,
    most_frames: int = 96,
) -> Iterator[np.ndarray]:
    """True frames beside recoloured ones, squashed to a square: uint8 RGB [S, 2 S, 3].

    The colours are carried from the first frame as the paper carries labels, by `ColourPropagator`.
    """
    protocol = get_protocol("vidcolor", [f"frame_size_px={side_px}x{side_px}"])
    propagator = ColourPropagator(ColorizerEncoder(colorizer, protocol), protocol)
    for index, frame in enumerate(islice(frames, most_frames)):
        shown = cv2.resize(frame, (side_px, side_px), interpolation=cv2.INTER_AREA)
        if index == 0:
            propagator.start(shown)
            yield np.concatenate((shown, shown), axis=1)
            continue
        carried, _ = propagator.step(shown)
        yield np.concatenate((shown, painted(shown, propagator.to_pixels(carried))), axis=1)


@torch.inference_mode()
def embedding_sheet(
    frames: Iterable[np.ndarray], colorizer: Colorizer, *, side_px: int = 256, columns: int = 6
) -> np.ndarray:
    """Frames of a video above their embeddings as colours, uint8 RGB [2 S, columns * S, 3].

    The three first principal components over all shown cells become red, green and blue, scaled
    jointly, so that equal embeddings have equal colours in all frames (Vondrick et al. 2018,
    figure of the embeddings).
    """
    first = _squashed(frames, side_px, 4 * columns)
    chosen = first[:: max(1, len(first) // columns)][:columns]
    clip = torch.stack([normalise_grey(luma(frame)) for frame in chosen])
    windows = [clip[[max(0, i - 3), max(0, i - 2), max(0, i - 1), i]] for i in range(len(clip))]
    embedding_TEhw = torch.stack([colorizer(window[None])[0, -1] for window in windows])
    colours = principal_colours(embedding_TEhw)
    large = F.interpolate(colours.float(), size=(side_px, side_px), mode="nearest").to(torch.uint8)
    rows = [torch.cat(list(images), dim=2) for images in (chosen, large.unbind())]
    return torch.cat(rows, dim=1).permute(1, 2, 0).numpy()


def principal_colours(features_TChw: torch.Tensor) -> torch.Tensor:
    """First three principal components of all cells as uint8 RGB [T, 3, h, w].

    Each is scaled from its 1st to its 99th percentile over all frames together.
    """
    frames, channels, height, width = features_TChw.shape
    cells = features_TChw.permute(0, 2, 3, 1).reshape(-1, channels)
    centred = cells - cells.mean(dim=0)
    # The sign of a component is arbitrary: make its largest weight positive.
    _, _, components = torch.linalg.svd(centred, full_matrices=False)
    components = components[:3]
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    scores = centred @ (components * largest.sign()).T
    low, high = scores.quantile(torch.tensor([0.01, 0.99]), dim=0)
    scaled = ((scores - low) / (high - low).clamp_min(1e-6)).clamp(0, 1) * 255
    image = scaled.reshape(frames, height, width, 3).permute(0, 3, 1, 2)
    return image.round().to(torch.uint8)
