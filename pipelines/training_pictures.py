"""What a colouriser makes of held-out clips: recoloured frames, and where one cell of them points.

Shape suffixes: T frames of a clip (references first, the target last), R references, K centroids,
H, W pixels, h, w cells.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.color import area_mean, lab_to_rgb, nearest_centroid, one_hot, rgb_to_lab
from model.colorizer import Colorizer, normalise_grey
from model.pointer import copy_through_pointer
from model.propagation.encoders import luma
from model.trunk import STRIDE_PX
from pipelines.held_out import HeldOutClip


@dataclass(frozen=True)
class ClipView:
    """One clip as a colouriser sees it; all pictures are uint8 RGB [H, W, 3]."""

    video_id: str
    references_RHW3: np.ndarray
    target_HW3: np.ndarray
    grey_HW3: np.ndarray
    """The target as the network gets it."""
    recoloured_HW3: np.ndarray
    """The target's lightness with the colours that the pointer copied from the references."""
    copied_HW3: np.ndarray
    """The target's lightness with the colours of the last reference, in place."""
    accuracy: float
    """Share of cells whose most probable code is the true one."""
    copy_accuracy: float
    """The same for the last reference's codes."""
    query_yx: tuple[int, int]
    """The cell that is asked where it points."""
    heat_Rhw: np.ndarray
    """How much of it each cell of the references gets: float32, the sum is 1."""


@torch.inference_mode()
def view_clip(clip: HeldOutClip, colorizer: Colorizer, centroids_K2: np.ndarray) -> ClipView:
    """Recolour a clip's target, and ask its most changed cell where it points.

    That cell is chosen by the clip alone, so that pictures of different steps compare: off the border,
    where the ab colour differs most from that of the last reference in the same place, times its own
    distance from grey, which prefers what has arrived to what has been uncovered.
    """
    frames_T3HW = torch.from_numpy(clip.frames_THW3).permute(0, 3, 1, 2)
    side_px = (frames_T3HW.shape[-2], frames_T3HW.shape[-1])
    cells = (side_px[0] // STRIDE_PX, side_px[1] // STRIDE_PX)
    grey_THW = torch.stack([luma(frame) for frame in frames_T3HW])
    embeddings_1TEhw = colorizer(normalise_grey(grey_THW)[None])
    references, target = embeddings_1TEhw[:, :-1], embeddings_1TEhw[:, -1]

    lab_T3HW = rgb_to_lab(frames_T3HW)
    ab_T2hw = area_mean(lab_T3HW, cells)[:, 1:]
    centroids = torch.from_numpy(centroids_K2).float()
    codes_Thw = nearest_centroid(ab_T2hw, centroids)
    values_TKhw = one_hot(codes_Thw, len(centroids))
    mixture_Khw = copy_through_pointer(references, target, values_TKhw[None, :-1])[0]

    moved_hw = (ab_T2hw[-1] - ab_T2hw[-2]).norm(dim=0) * ab_T2hw[-1].norm(dim=0)
    y, x = divmod(int(moved_hw[1:-1, 1:-1].argmax()), cells[1] - 2)
    query = (y + 1, x + 1)

    def painted(share_Khw: Tensor) -> np.ndarray:
        ab_2hw = torch.einsum("khw,kc->chw", share_Khw, centroids)
        smooth = F.interpolate(ab_2hw[None], size=side_px, mode="bilinear", align_corners=False)[0]
        return _picture(lab_to_rgb(torch.cat((lab_T3HW[-1, :1], smooth))))

    return ClipView(
        video_id=clip.video_id,
        references_RHW3=clip.frames_THW3[:-1],
        target_HW3=clip.frames_THW3[-1],
        grey_HW3=_picture(grey_THW[-1].to(torch.uint8).expand(3, -1, -1)),
        recoloured_HW3=painted(mixture_Khw),
        copied_HW3=painted(values_TKhw[-2]),
        accuracy=float((mixture_Khw.argmax(dim=0) == codes_Thw[-1]).float().mean()),
        copy_accuracy=float((codes_Thw[-2] == codes_Thw[-1]).float().mean()),
        query_yx=query,
        heat_Rhw=_pointed_at(references, target[..., query[0], query[1], None, None]).numpy(),
    )


def _pointed_at(references_1REhw: Tensor, query_1E11: Tensor) -> Tensor:
    """The pointer's weights for one cell, [R, h, w]: what it copies when every cell has a name."""
    _, references, _, height, width = references_1REhw.shape
    cells = references * height * width
    names_1RKhw = torch.eye(cells).reshape(1, cells, references, height, width).transpose(1, 2)
    copied_1K11 = copy_through_pointer(references_1REhw, query_1E11, names_1RKhw)
    return copied_1K11.reshape(references, height, width)


def _picture(image_3HW: Tensor) -> np.ndarray:
    return image_3HW.permute(1, 2, 0).contiguous().numpy()
