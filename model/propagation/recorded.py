"""The affinities of a whole video on disk, for labels that come later: neither frames nor network.

    with the frames:  Propagator(encoder, protocol, record=AffinityFolder(folder))
    at any time later:  replay(AffinityFolder(folder), {0: [KeypointAnnotation(...)]})

A file a frame: under a protocol with a top-k k numbers and weights a cell, 8 bytes each (514 kB for
480x854 px at stride 8 and k = 10); without one a weight for every pair of cells that see each other
(12.6 MB under `vidcolor`, a gigabyte and more for large frames without a window). Memory is that of
the engine and one frame's affinity.

Shape suffixes: T tiles, L label columns, H W rows and columns of pixels, h w of cells.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.errors import UserError
from model.propagation.affinity import Affinity
from model.propagation.annotations import Annotation
from model.propagation.checks import as_annotations, check_something
from model.propagation.columns.kind import Drawing
from model.propagation.columns.layout import LabelLayout
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.memory import Memory
from model.propagation.results import PropagationResult
from model.propagation.tile_logits import Tile
from model.propagation.tiles import TileWeights

VIDEO_FILE = "video.json"


@dataclass(frozen=True)
class RecordedVideo:
    """What the affinities are of."""

    size_px: tuple[int, int]
    stride_px: int
    protocol: MatchingProtocol


class AffinityFolder:
    """The affinities of one video, carried forwards: VIDEO_FILE and NNNNNN.safetensors for each frame."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, video: RecordedVideo) -> None:
        """Start to record. Raises UserError where the folder holds anything."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if any(self._folder.iterdir()):
            raise UserError(f"{self._folder}: not empty, no place for the affinities of a video")
        record = {
            "size_px": video.size_px,
            "stride_px": video.stride_px,
            "protocol": video.protocol.describe(),
        }
        (self._folder / VIDEO_FILE).write_text(json.dumps(record, indent=1) + "\n")

    def write(self, frame_index: int, affinity: Affinity | None, *, anchor: bool) -> None:
        """One frame, in order; the first has no affinity. `anchor`: whether it was annotated."""
        tensors: dict[str, Tensor] = {}
        if affinity is not None:
            corners = [
                (t.tile.top, t.tile.bottom, t.tile.left, t.tile.right) for t in affinity.tiles
            ]
            tensors["tiles_T4"] = torch.tensor(corners, dtype=torch.int32)
            for number, tile in enumerate(affinity.tiles):
                tensors[f"index.{number}"] = tile.index.int().cpu().contiguous()
                tensors[f"weights.{number}"] = tile.weights.cpu().contiguous()
                tensors[f"rows.{number}"] = torch.tensor(tile.softmax_rows, dtype=torch.int32)
        file = self._file(frame_index)
        partial = file.with_suffix(".partial")
        metadata = {
            "anchor": json.dumps(anchor),
            "context": str(affinity.frames if affinity else 0),
        }
        save_file(tensors, partial, metadata=metadata)
        partial.replace(file)

    def video(self) -> RecordedVideo:
        """Raises UserError where none was recorded."""
        file = self._folder / VIDEO_FILE
        try:
            record = json.loads(file.read_text())
            settings: dict[str, Any] = {
                field.name: _untupled(record["protocol"][field.name])
                for field in fields(MatchingProtocol)
            }
            height, width = record["size_px"]
            protocol = MatchingProtocol(**settings)
            return RecordedVideo((int(height), int(width)), int(record["stride_px"]), protocol)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: no record of a video's affinities ({error})") from error

    def frames(self) -> int:
        """How many were recorded."""
        return len(list(self._folder.glob("*.safetensors")))

    def is_anchor(self, frame_index: int) -> bool:
        """Whether that frame was annotated."""
        with self._open(frame_index) as file:
            return bool(json.loads(file.metadata()["anchor"]))

    def affinity(
        self, frame_index: int, size_cells: tuple[int, int], device: torch.device
    ) -> Affinity:
        """Of a frame but the first. Raises UserError for a file that is not one."""
        with self._open(frame_index) as file:
            tiles = tuple(
                TileWeights(
                    Tile(*corners),
                    file.get_tensor(f"index.{number}").long().to(device),
                    file.get_tensor(f"weights.{number}").to(device),
                    tuple(file.get_tensor(f"rows.{number}").tolist()),
                )
                for number, corners in enumerate(file.get_tensor("tiles_T4").tolist())
            )
            return Affinity(size_cells, int(file.metadata()["context"]), tiles)

    def _file(self, frame_index: int) -> Path:
        return self._folder / f"{frame_index:06d}.safetensors"

    def _open(self, frame_index: int) -> safe_open:
        file = self._file(frame_index)
        try:
            return safe_open(file, framework="pt")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: no affinity of a frame ({error})") from error


@torch.inference_mode()
def replay(
    recorded: AffinityFolder,
    labels: Mapping[int, Sequence[Annotation]],
    device: torch.device | str = "cpu",
) -> Iterator[PropagationResult]:
    """Labels of every recorded frame, in order: what the recorded run would have given for them too.

    `labels` are annotations by frame number. Only frames that were annotated in the recorded run may
    be (its context was chosen by them); kinds and ids may be others. Raises UserError for annotations
    of another frame, none at all, those that cannot be of this video, and for damaged files.
    """
    device, video, frames = torch.device(device), recorded.video(), recorded.frames()
    anchors = [index for index in range(frames) if recorded.is_anchor(index)]
    for index in labels:
        if index not in anchors:
            raise UserError(
                f"frame {index} has labels; affinities were recorded with annotations in "
                f"{', '.join(map(str, anchors))} only"
            )
    if not any(labels.values()):
        raise UserError("no recorded frame is annotated")
    protocol = video.protocol
    layout = LabelLayout.empty(Drawing.of(protocol, video.stride_px, video.size_px, device))
    memory, known = Memory(protocol), False
    for index in range(frames):
        annotations = as_annotations(labels.get(index, ()))
        layout = layout.extended(annotations)
        if annotations and not known:
            check_something(layout, annotations)
            known = True
        carried_Lhw = None
        if index:
            affinity = recorded.affinity(index, layout.drawing.grid.size_cells, device)
            context = [layout.padded(frame.labels_LHW) for frame in memory.context()]
            carried_Lhw = affinity.apply(context)
            if protocol.rescale == "carried":
                carried_Lhw = layout.rescaled(carried_Lhw)
            annotations = layout.completed(annotations, carried_Lhw)
        labels_Lhw = layout.corrected(carried_Lhw, annotations)
        result = layout.result(labels_Lhw, annotations)
        if index and protocol.carried_state == "hard":
            labels_Lhw = layout.decided(labels_Lhw, result)
        memory.add(index, torch.empty(0), labels_Lhw, anchor=index in anchors)
        yield result


def _untupled(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
