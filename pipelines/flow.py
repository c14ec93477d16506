"""The baseline of optical flow: labels and points follow the pixels from frame to frame, without a network.

OpenCV's DIS flow (Kroeger et al. 2016, arXiv 1603.03590) with its preset MEDIUM, on the luma of the
frames at their own size. Every step goes from one frame to the next, so errors add up, what was hidden
once is lost, and what comes out from behind an object takes its label. A forward-backward check for that
made it worse: on the annotated sequences of docs/results.md J&F fell by 0.09 where pixels that fail it
became background, by 0.04 where they were filled from their neighbours.

Shape suffixes: H W rows and columns of pixels, L labels (background first), N points.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

from model.propagation.checks import check_first, check_next
from model.propagation.grid import LARGEST_BYTE, CellGrid
from model.propagation.results import PropagationResult, mask_result

METHOD = "OpenCV DIS flow, preset MEDIUM, luma at full size, soft masks warped frame by frame"
LEAST_SIDE_PX = 32
"""OpenCV crashes on some frames smaller than its pyramid of patches (12x64); they count as still."""
CELL_PX = 8
"""Side of the cells on which the soft labels of a result are given; nothing is computed on them."""


class DenseFlow:
    """Displacements in px between two frames of one size."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def between(self, start_HW3: np.ndarray, end_HW3: np.ndarray) -> np.ndarray:
        """Two uint8 RGB frames -> float32 [H, W, 2]: what is at (x, y) in `start` is at
        (x, y) + flow[y, x] in `end`."""
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (start_HW3, end_HW3)]
        if min(grey[0].shape) < LEAST_SIDE_PX:
            return np.zeros((*grey[0].shape, 2), np.float32)
        flow = self._dis.calc(grey[0], grey[1], None)  # type: ignore[call-overload]  # may be None
        return np.asarray(flow)


class FlowPropagator:
    """Carries the mask of a video's first frame by flow; the same calls as `Propagator`.

    Every pixel looks up the flow back to the frame before and takes the labels from there, which are
    kept as a share of each label per pixel: float32 [L, H, W] is all the memory.
    """

    def __init__(self) -> None:
        self._flow = DenseFlow()
        self._before: np.ndarray | None = None
        self._planes: list[np.ndarray] = []
        self._ids: tuple[int, ...] = ()
        self._frame_index = 0

    def start(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> PropagationResult:
        """As `Propagator.start` with a mask, with the same errors for the same input."""
        self._ids = check_first(frame_HW3, mask_HW)
        self._planes = [(mask_HW == label).astype(np.float32) for label in self._ids]
        self._before, self._frame_index = frame_HW3, 0
        return mask_result(mask_HW.copy(), self._on_cells(), self._ids)

    def step(self, frame_HW3: np.ndarray) -> PropagationResult:
        """Labels of the next frame; errors as `Propagator.step`."""
        if self._before is None:
            raise RuntimeError("step() needs start() with an annotated frame first")
        self._frame_index += 1
        check_next(frame_HW3, self._before.shape[:2], self._frame_index)
        flow_HW2 = self._flow.between(frame_HW3, self._before)
        source_HW2 = _pixel_centres(flow_HW2.shape[:2]) + flow_HW2
        self._planes = [_sampled(plane, source_HW2) for plane in self._planes]
        self._before = frame_HW3
        dtype = np.uint8 if max(self._ids) <= LARGEST_BYTE else np.int32
        mask_HW = np.array(self._ids, dtype)[np.argmax(self._planes, axis=0)]
        return mask_result(mask_HW, self._on_cells(), self._ids)

    def _on_cells(self) -> Tensor:
        """Mean share of each label over the pixels of each cell: float32 [L, h, w]."""
        height, width = self._planes[0].shape
        rows, columns = CellGrid((height, width), CELL_PX).size_cells
        right, below = columns * CELL_PX - width, rows * CELL_PX - height
        means = [
            cv2.resize(
                cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REPLICATE),
                (columns, rows),
                interpolation=cv2.INTER_AREA,
            )
            for plane in self._planes
        ]
        return torch.from_numpy(np.stack(means))


class FlowPoints:
    """Carries points of a video's first frame by flow."""

    def __init__(self, frame_HW3: np.ndarray, points_N2: np.ndarray) -> None:
        """Points (x, y) in px of the first frame, the middle of its first pixel being (0, 0)."""
        self._flow = DenseFlow()
        self._before = frame_HW3
        self._points_N2 = points_N2.astype(np.float32)

    def step(self, frame_HW3: np.ndarray) -> np.ndarray:
        """The points in the next frame: float32 [N, 2]. One that left moves with the nearest border."""
        flow_HW2 = self._flow.between(self._before, frame_HW3)
        moved_N2 = self._points_N2 + _sampled(flow_HW2, self._points_N2[None])[0]
        self._before, self._points_N2 = frame_HW3, moved_N2
        return moved_N2.copy()


def _pixel_centres(size_px: tuple[int, ...]) -> np.ndarray:
    """(x, y) of every pixel: float32 [H, W, 2]."""
    rows, columns = np.indices(size_px, dtype=np.float32)
    return np.stack((columns, rows), axis=-1)


def _sampled(image: np.ndarray, places_HW2: np.ndarray) -> np.ndarray:
    """The image between its pixels, bilinearly; beyond its border, the border."""
    x_HW, y_HW = cv2.split(places_HW2)
    return cv2.remap(image, x_HW, y_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
