"""Labels of a whole video from annotated frames anywhere in it, carried forwards and backwards.

Shape suffixes: L columns, H W pixels, h w cells.
"""

import bisect
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.errors import UserError
from model.propagation.annotations import Annotation
from model.propagation.checks import check_frame, check_next
from model.propagation.columns.kind import ColumnName, Drawing, LabelColumns
from model.propagation.columns.layout import LabelLayout
from model.propagation.diagnostics import CellDiagnostics
from model.propagation.engine import Propagator
from model.propagation.frame_encoder import Encoder
from model.propagation.grid import CellGrid
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.results import Carried, PropagationResult

SoftLabels = Mapping[type, tuple[Tensor, tuple[ColumnName, ...]]]
"""The columns of each kind of annotation in one frame, and their names; before the first annotated frame
also the maps [8,h,w] of its `CellDiagnostics`."""


@torch.inference_mode()
def propagate_both_ways(
    frames: Sequence[np.ndarray],
    anchors: Mapping[int, Sequence[Annotation]],
    encoder: Encoder,
    protocol: MatchingProtocol,
    device: torch.device | str = "cpu",
    *,
    batch_frames: int | None = None,
    held: MutableMapping[int, SoftLabels] | None = None,
    diagnose: bool = False,
) -> Iterator[PropagationResult]:
    """Labels of every frame of a video, in order.

    `frames` are uint8 RGB [H,W,3] and may be read as they are asked for (each is, up to twice);
    `anchors` are annotations by frame number; `batch_frames` is that of `Propagator`. One pass goes
    forwards from the first anchor, one backwards from the last, and in both of them every anchor
    replaces what was predicted. Each kind of
    label is merged on its own. In a frame that has an annotation of the kind it is that annotation.
    Before its first or after its last annotation it is the one prediction there is. At time t between
    annotations at a and b the columns are

        y = (w_f c_f y_f + w_b c_b y_b) / (w_f c_f + w_b c_b)
        w_f = (b - t) / (b - a),    w_b = (t - a) / (b - a)

    where c is how sure a prediction is: of masks the greatest value of any label in the cell, of
    boxes the greatest value of the column, of keypoints and points its greatest sum over 3x3 cells,
    of colours 1. An id that one of the
    two does not know counts as 0 in it.

    The soft labels of the pass backwards wait in half precision (2 bytes a column and cell of every
    frame) in `held`; without it they are in memory, which then grows with the video. With `diagnose`
    results have the diagnostics of the pass forwards, before the first anchor of the one backwards.
    Raises UserError for no frames, no anchors, an anchor that is no frame of the video, and what
    `Propagator` refuses.
    """
    device = torch.device(device)
    _check(len(frames), anchors)
    times = sorted(anchors)
    first_HW3 = frames[times[0]]
    check_frame(first_HW3, times[0])
    size_px = (first_HW3.shape[0], first_HW3.shape[1])
    layout = LabelLayout.empty(Drawing.of(protocol, encoder.stride_px, size_px, device))
    for time in times:
        layout = layout.extended(anchors[time])
    backwards: MutableMapping[int, SoftLabels] = {} if held is None else held

    def propagator(diagnose: bool) -> Propagator:
        return Propagator(encoder, protocol, device, batch_frames=batch_frames, diagnose=diagnose)

    back = propagator(diagnose and times[0] > 0)
    for time, result in _pass(back, frames, anchors, range(times[-1], -1, -1)):
        packed = _packed(result.diagnostics) if time < times[0] else {}
        backwards[time] = {**_soft(result, torch.float16), **packed}
    forwards = _pass(propagator(diagnose), frames, anchors, range(times[0], len(frames)))
    for time in range(len(frames)):
        ahead = next(forwards)[1] if time >= times[0] else PropagationResult(())
        yield _merged(time, ahead, backwards.pop(time, {}), anchors, layout)


def _pass(
    propagator: Propagator,
    frames: Sequence[np.ndarray],
    anchors: Mapping[int, Sequence[Annotation]],
    order: Sequence[int],
) -> Iterator[tuple[int, PropagationResult]]:
    """One way through the video; the first frame of `order` is an anchor."""
    labels = {place: anchors[time] for place, time in enumerate(order) if time in anchors}
    yield from zip(order, propagator.run(_of_one_size(frames, order), labels), strict=True)


def _of_one_size(frames: Sequence[np.ndarray], order: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames as they are asked for. UserError for one of another size than the first of `order`, by its
    number in the video, which `Propagator` does not know."""
    size_px = frames[order[0]].shape[:2]
    for time in order:
        frame_HW3 = frames[time]
        check_next(frame_HW3, size_px, time)
        yield frame_HW3


def _soft(result: PropagationResult, dtype: torch.dtype) -> SoftLabels:
    return {type(each.record): (each.soft_Lhw.to(dtype), each.names) for each in result.carried}


def _packed(diagnostics: CellDiagnostics | None) -> SoftLabels:
    if diagnostics is None:
        return {}
    maps = [getattr(diagnostics, each.name) for each in fields(diagnostics) if each.name != "grid"]
    return {CellDiagnostics: (torch.cat([each.reshape(-1, *each.shape[-2:]) for each in maps]), ())}


def _unpacked(back: SoftLabels, grid: CellGrid) -> CellDiagnostics | None:
    if CellDiagnostics not in back:
        return None
    maps_8hw = back[CellDiagnostics][0]
    return CellDiagnostics(grid, maps_8hw[:3], *maps_8hw[3:])


def _merged(
    time: int,
    ahead: PropagationResult,
    back: SoftLabels,
    anchors: Mapping[int, Sequence[Annotation]],
    layout: LabelLayout,
) -> PropagationResult:
    """A kind that is annotated in the frame is as the pass forwards has it: the annotation, completed."""
    annotated = {type(annotation) for annotation in anchors.get(time, ())}
    soft_ahead = _soft(ahead, torch.float32)
    carried: list[Carried[Any]] = []
    for kind, placed in layout.kinds.items():
        columns = placed.columns
        given = ahead.of(kind)
        if kind in annotated and given is not None:
            soft_Lhw = _aligned(given.soft_Lhw, given.names, columns)
            carried.append(Carried(given.record, soft_Lhw, columns.names))
            continue
        known = sorted(t for t, each in anchors.items() if kind in map(type, each))
        weight_ahead, weight_back = _weights(time, known)
        parts = [
            (weight, _aligned(*labels[kind], columns))
            for weight, labels in ((weight_ahead, soft_ahead), (weight_back, back))
            if weight > 0
        ]
        soft_Lhw = parts[0][1] if len(parts) == 1 else _mean(parts, columns)
        carried.append(Carried(columns.decode(soft_Lhw), soft_Lhw, columns.names))
    diagnostics = ahead.diagnostics or _unpacked(back, layout.drawing.grid)
    return PropagationResult(tuple(carried), diagnostics, ahead.features_CHW)


def _weights(time: int, known: Sequence[int]) -> tuple[float, float]:
    """Of the prediction forwards and backwards, between the annotations at the times `known`."""
    later = bisect.bisect(known, time)
    if later == 0:
        return 0.0, 1.0
    if later == len(known):
        return 1.0, 0.0
    before, after = known[later - 1], known[later]
    return (after - time) / (after - before), (time - before) / (after - before)


def _aligned(soft_Lhw: Tensor, names: tuple[ColumnName, ...], columns: LabelColumns[Any]) -> Tensor:
    """Columns with those names -> float32 in the order of `columns`, 0 for a name that is missing."""
    aligned = torch.zeros((len(columns.names), *soft_Lhw.shape[1:]), device=soft_Lhw.device)
    for position, name in enumerate(columns.names):
        if name in names:
            aligned[position] = soft_Lhw[names.index(name)]
    return aligned


def _mean(parts: Sequence[tuple[float, Tensor]], columns: LabelColumns[Any]) -> Tensor:
    weights = [weight * columns.confidence(soft_Lhw) for weight, soft_Lhw in parts]
    total = torch.stack(weights).sum(0)
    summed = sum(weight * soft_Lhw for weight, (_, soft_Lhw) in zip(weights, parts, strict=True))
    return torch.where(total > 0, summed / total, torch.zeros_like(total))


def _check(frames: int, anchors: Mapping[int, Sequence[Annotation]]) -> None:
    if not frames:
        raise UserError("the video has no frame")
    if not anchors:
        raise UserError("no frame of the video is annotated")
    for time in anchors:
        if not 0 <= time < frames:
            raise UserError(f"frame {time} is annotated, but the video has {frames} frames")
