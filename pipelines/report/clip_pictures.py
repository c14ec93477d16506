"""Pictures of a stored clip as `data:` URIs: its frames, and the two sets that training sees.

Shape suffixes: H, W pixels, h, w cells, K centroids, T frames side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from model.color import lab_to_rgb
from model.errors import UserError
from pipelines.inspection import ShownClip
from pipelines.report.embed import data_uri
from pipelines.targets import cell_lab

THUMBNAIL_PX = 160
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class ClipStrip:
    """The frames of a clip, small, side by side in one picture."""

    video_id: str
    times: str
    """When the first and the last frame are shown, in seconds."""
    uri: str
    frames: int


@dataclass(frozen=True)
class ClipSets:
    """Set 1, grey frames at their stored size, beside set 2, a pixel a cell in codebook colours."""

    video_id: str
    times: str
    grey_uri: str
    colours_uri: str
    frames: int
    size_px: int
    cells: int
    """On a side of a frame."""


def clip_strip(clip: ShownClip) -> ClipStrip:
    """Raises `UserError` when a frame is not a JPEG."""
    small = [
        cv2.resize(frame, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
        for frame in _frames(clip, cv2.IMREAD_COLOR)
    ]
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    jpeg = cv2.imencode(".jpg", np.concatenate(small, axis=1), quality)[1]
    return ClipStrip(
        clip.video_id, _times(clip), data_uri("image/jpeg", jpeg.tobytes()), len(small)
    )


def clip_sets(clip: ShownClip, centroids_K2: np.ndarray) -> ClipSets:
    """The luma that the network gets, and each cell's cluster at the cell's own lightness.

    Raises `UserError` when a frame is not a JPEG.
    """
    grey = np.concatenate(_frames(clip, cv2.IMREAD_GRAYSCALE), axis=1)
    frames = [cv2.cvtColor(f, cv2.COLOR_BGR2RGB) for f in _frames(clip, cv2.IMREAD_COLOR)]
    colours = [
        painted(frame, codes, centroids_K2)
        for frame, codes in zip(frames, clip.codes_Thw, strict=True)
    ]
    return ClipSets(
        clip.video_id,
        _times(clip),
        png_uri(grey),
        png_uri(np.concatenate(colours, axis=1)),
        len(frames),
        frames[0].shape[0],
        clip.codes_Thw.shape[-1],
    )


def painted(frame_HW3: np.ndarray, codes_hw: np.ndarray, centroids_K2: np.ndarray) -> np.ndarray:
    """RGB uint8 [h, w, 3]: the lightness of each cell of the frame, the ab of its cluster."""
    lightness = cell_lab(frame_HW3)[..., :1]
    lab = np.concatenate((lightness, centroids_K2[codes_hw]), axis=-1)
    return lab_rgb(lab)


def lab_rgb(lab_HW3: np.ndarray) -> np.ndarray:
    """CIE Lab [H, W, 3] -> RGB uint8 of the same shape; colours outside sRGB are clipped."""
    lab = torch.from_numpy(np.ascontiguousarray(lab_HW3, dtype=np.float32))
    return lab_to_rgb(lab.permute(2, 0, 1)).permute(1, 2, 0).contiguous().numpy()


def png_uri(picture: np.ndarray) -> str:
    """uint8 grey [H, W], RGB [H, W, 3] or RGBA [H, W, 4] as a PNG in a URI."""
    if picture.ndim == 3:
        to_opencv = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        picture = cv2.cvtColor(picture, to_opencv)
    return data_uri("image/png", cv2.imencode(".png", picture)[1].tobytes())


def _frames(clip: ShownClip, flag: int) -> Sequence[np.ndarray]:
    images = [cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), flag) for jpeg in clip.frames]
    decoded = [image for image in images if image is not None]
    if len(decoded) < len(images):
        raise UserError(f"clip {clip.clip_id}: a frame is not a JPEG (see `huetrack validate`)")
    return decoded


def _times(clip: ShownClip) -> str:
    return f"{clip.timestamps_s[0]:.2f} to {clip.timestamps_s[-1]:.2f} s"
