"""What a protocol is worth: the same features under all nine, and under CRW's with one setting changed.

`python -m benchmarks.protocols MODEL... [--protocols crw] [--height-px 240] [--settings none] [--json FILE]`
carries masks and joints of the annotated videos in the folder `eval` of HUETRACK_DATA (default
../shared/data) and prints J&F of those of DAVIS (`--masks 'davis*'`) and PCK@0.1 and @0.2, reference
mode, of those with joints (`--joints '*'`; a name that none has leaves them out). MODEL is as of `huetrack
propagate`. Frames with masks are squashed to `--height-px` and sixteen ninths of that, those with joints to
320x320 px, unless a protocol has a size of its own. CRW's protocol with one setting changed has, for masks, a
window of 12 * height / 480 cells, which is what it sees at 480p; `--settings none` leaves these out, and
`--protocols NAME...` leaves out the other protocols. Frames are encoded once for all. `identity` and `flow`,
which no protocol reaches, get one row.
"""

import argparse
import fnmatch
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.figures import show
from model.propagation.annotations import Annotation, KeypointAnnotation
from model.propagation.engine import LabelPropagator, Propagator
from model.propagation.frame_encoder import Encoder
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.protocols import PROTOCOLS, get_protocol
from pipelines.archive_plan import AnnotatedVideo, LabelSource, annotated_videos
from pipelines.evaluation import evaluate_masks
from pipelines.evaluation_keypoints import evaluate_keypoints
from pipelines.labels.codec import VideoInfo
from pipelines.labels.formats import write_labels
from pipelines.models import (
    WITHOUT_MATCHING,
    ModelSpec,
    build_encoder,
    build_propagator,
    parse_model,
)

EVAL = Path(os.environ.get("HUETRACK_DATA", "../shared/data")) / "eval"
JOINTS_SIZE = "frame_size_px=320x320"
ONE_CHANGED = (
    "softmax=per_frame",
    "top_k=none",
    "top_k=5",
    "top_k_stage=after",
    "radius_cells=none",
    "window_shape=square",
    "window_on_anchor=true",
    "pad_with_first=false",
    "window_on_anchor=true pad_with_first=false",
    "recent_frames=1",
    "recent_frames=7",
    "anchor_first=false",
    "carried_state=hard",
    "rescale=output",
    "rescale=carried",
    "label_resize=nearest",
    "temperature=0.02",
    "temperature=0.1",
    "temperature=0.2",
)


class RememberingEncoder:
    """An encoder that encodes every frame of a video once for each size that protocols bring it to."""

    def __init__(self) -> None:
        self._encoder: Encoder | None = None
        self._features: dict[tuple[int, torch.Size], Tensor] = {}
        self._frame = 0
        self.stride_px = 0

    def forget(self) -> None:
        """Another video comes."""
        self._features.clear()

    def begin(self, encoder: Encoder) -> None:
        """The same video from its first frame, matched as `encoder` does."""
        self._encoder, self._frame, self.stride_px = encoder, 0, encoder.stride_px

    def encode(self, frame_3HW: Tensor) -> Tensor:
        assert self._encoder is not None
        key = (self._frame, frame_3HW.shape)
        if key not in self._features:
            self._features[key] = self._encoder.encode(frame_3HW)
        self._frame += 1
        return self._features[key]

    def match(self, references: Sequence[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        assert self._encoder is not None
        return self._encoder.match(references, target)


def protocols_at(
    spec: ModelSpec,
    protocols: Sequence[str],
    size: str,
    radius_cells: float,
    *,
    joints: bool,
    settings: bool,
) -> dict[str, MatchingProtocol]:
    """Those `protocols` that reach the model, by what the table calls them."""
    if spec.kind in WITHOUT_MATCHING:
        return {"no protocol": get_protocol("crw")}
    found = {}
    for name in protocols:
        own = get_protocol(name).frame_size_px is not None and not joints
        found[name] = get_protocol(name, () if own else (size,))
    if not settings:
        return found
    base = (size, f"radius_cells={radius_cells:g}")
    found["crw, window as at 480p"] = get_protocol("crw", base)
    for setting in ONE_CHANGED:
        found[f"  {setting}"] = get_protocol("crw", (*base, *setting.split()))
    return found


def carry_all(
    spec: ModelSpec,
    videos: Sequence[AnnotatedVideo],
    labels: LabelSource,
    protocols: dict[str, MatchingProtocol],
    write: Callable[[Path, str, list[tuple[str, Annotation]]], None],
    place: Path,
) -> None:
    """Labels of each video under each protocol, into a folder a protocol."""
    reader, remembering = labels.open(), RememberingEncoder()
    matching = spec.kind not in WITHOUT_MATCHING
    encoders = {
        name: build_encoder(spec, each, "cpu") for name, each in protocols.items() if matching
    }
    for video in videos:
        remembering.forget()
        frames = list(video.footage.frames())
        name = video.footage.video_id
        first = [reader.read(name, video.anchors[0][1])]
        for number, (title, protocol) in enumerate(protocols.items()):
            if matching:
                remembering.begin(encoders[title])
                propagator: LabelPropagator = Propagator(remembering, protocol)
            else:
                propagator = build_propagator(spec, protocol, "cpu")
            results = propagator.run((picture for _, picture in frames), {0: first})
            records = [
                (stem, next(each.record for each in result.carried))
                for (stem, _), result in zip(frames, results, strict=True)
            ]
            write(place / str(number), name, records)
        print(f"{spec.kind}: {name}", flush=True)


def write_masks(place: Path, name: str, records: list[tuple[str, Annotation]]) -> None:
    write_labels("davis", place, VideoInfo(name), records)


def write_joints(place: Path, name: str, records: list[tuple[str, Annotation]]) -> None:
    numbered = ((index, record) for index, (_, record) in enumerate(records))
    write_labels("jhmdb", place, VideoInfo(name), numbered)


def with_joints(labels: LabelSource, videos: Sequence[AnnotatedVideo]) -> Iterator[AnnotatedVideo]:
    reader = labels.open()
    for video in videos:
        first = reader.read(video.footage.video_id, video.anchors[0][1])
        if isinstance(first, KeypointAnnotation):
            yield video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--masks", default="davis*")
    parser.add_argument("--joints", default="*")
    parser.add_argument("--height-px", type=int, default=240)
    parser.add_argument("--protocols", nargs="+", default=list(PROTOCOLS), choices=list(PROTOCOLS))
    parser.add_argument("--settings", choices=("each", "none"), default="each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    width_px = given.height_px * 16 // 9 // 8 * 8
    size, radius_cells = f"frame_size_px={given.height_px}x{width_px}", 12 * given.height_px / 480
    masks, joints = LabelSource(EVAL), LabelSource(EVAL, "jhmdb")
    masked = [
        video
        for video in annotated_videos(EVAL, masks)
        if fnmatch.fnmatch(video.footage.video_id, given.masks)
    ]
    jointed = [
        video
        for video in with_joints(joints, annotated_videos(EVAL, joints))
        if fnmatch.fnmatch(video.footage.video_id, given.joints)
    ]
    figures: dict[str, Any] = {}
    for model in given.models:
        spec = parse_model(model, untrained_width=64, seed=0)
        with_settings = given.settings == "each"
        names, at_joints = (
            protocols_at(
                spec, given.protocols, at, radius, joints=joints_too, settings=with_settings
            )
            for at, radius, joints_too in ((size, radius_cells, False), (JOINTS_SIZE, 12, True))
        )
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            carry_all(spec, masked, masks, names, write_masks, place / "masks")
            carry_all(spec, jointed, joints, at_joints, write_joints, place / "joints")
            for number, name in enumerate(names):
                shown = f"{model:30} {name:30}"
                if masked:
                    videos = [video.footage.video_id for video in masked]
                    scores = evaluate_masks(EVAL, place / "masks" / str(number), sequences=videos)
                    numbers = scores.to_json()["global"]
                    figures[f"{model}, {name}: J&F"] = numbers["J&F-Mean"]
                    shown += f" J&F {numbers['J&F-Mean']:.3f}"
                if jointed:
                    videos = [video.footage.video_id for video in jointed]
                    scored = evaluate_keypoints(EVAL, place / "joints" / str(number), videos)
                    mean = scored.scores("reference").mean
                    figures[f"{model}, {name}: PCK@0.1, @0.2"] = (float(mean[0]), float(mean[1]))
                    shown += f"  PCK {mean[0]:.3f} {mean[1]:.3f}"
                print(shown, flush=True)
    show(f"J&F of {len(masked)} and PCK of {len(jointed)} videos", figures, given.json)


if __name__ == "__main__":
    main()
