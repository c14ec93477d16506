"""Which frame to annotate next: the rule of `pipelines/review/next_frame.py` against chance and the middle.

    python -m benchmarks.next_frame --archive $HUETRACK_DATA/eval --model lab --json next_frame.json
    python -m benchmarks.next_frame --archive $HUETRACK_DATA/eval --model runs/first+lab \
        --samples build/alone build/joined

Every sequence (VIDEO/frames, VIDEO/masks, all frames annotated) is propagated from its first mask, with
confidences. Then single frames are corrected with the true mask: the one the rule names, the middle one, the
least sure one, and a few evenly spread over the video, whose mean is what chance would bring and whose best
is a bound. The gain is the J that is won, summed over objects and frames, the corrected frame with them.
A sequence where the rule names no frame counts with a gain of 0 for it. With `--samples`, which
`benchmarks.confidence` left in its --cache, each sequence has a confidence model that was fitted without it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.confidence import cached
from benchmarks.figures import show
from model.confidence.scorer import ConfidenceModel, load_confidence_model
from model.confidence.tracker import VideoConfidence
from model.metrics.davis import region_similarity
from model.propagation.annotations import MaskAnnotation
from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol
from pipelines.confidence_fit import fit_confidence
from pipelines.footage import find_footage
from pipelines.labels.formats import open_labels
from pipelines.models import build_encoder, parse_model
from pipelines.review.next_frame import next_frames
from pipelines.review.reviewed import LOW_BIT, LOW_CONFIDENCE, ReviewedVideo


@dataclass(frozen=True)
class AnnotatedVideo:
    """An annotated video, and how well it is labelled from its first mask."""

    video: ReviewedVideo
    frames: list[np.ndarray]
    truth: list[np.ndarray]
    features: list[torch.Tensor]
    """Of each frame, so that none is encoded again for every frame that is tried."""
    j_OT: np.ndarray


def main() -> None:
    """Propagate, correct, compare, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--sequences", nargs="*", default=[], help="parts of their names")
    parser.add_argument("--model", default="lab")
    parser.add_argument("--protocol", default="crw")
    parser.add_argument(
        "--height-px", type=int, default=240, help="taller videos are reduced to it"
    )
    parser.add_argument("--tries", type=int, default=6, help="frames that stand for chance")
    parser.add_argument("--samples", type=Path, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    protocol = get_protocol(arguments.protocol, [])
    model = parse_model(arguments.model, untrained_width=64, seed=0)
    encoder = build_encoder(model, protocol, "cpu")
    found, rows = [], []
    samples = [sample for cache in arguments.samples for sample in cached(cache)]
    for name, frames, truth in _annotated(
        arguments.archive, arguments.sequences, arguments.height_px
    ):
        scorer = load_confidence_model()
        if samples:
            scorer = fit_confidence([s for s in samples if s.video_id != name], {})
        each = _propagated(
            name, frames, truth, Propagator(encoder, protocol, diagnose=True), scorer
        )
        plain = Propagator(encoder, protocol)
        found.append(each)
        rows.append(_row(each, next_frames(each.video, False, 1), plain, arguments.tries))
        print(rows[-1], flush=True)
    labels = sum(each.j_OT[:, 1:].size for each in found)
    ways = ("rule", "least_sure", "middle", "chance", "best")
    figures: dict[str, Any] = {
        "sequences": len(found),
        "labels (objects x frames)": labels,
        "mean J before": float(np.mean([row["j_before"] for row in rows])),
        **{
            f"gain in mean J, {way}": float(np.mean([row[way] / row["labels"] for row in rows]))
            for way in ways
        },
        "rule better than chance, sequences": sum(row["rule"] > row["chance"] for row in rows),
        "rule better than the middle, sequences": sum(row["rule"] > row["middle"] for row in rows),
        "rows": rows,
    }
    show(
        f"One more annotated frame: {arguments.model}, {arguments.protocol}",
        figures,
        arguments.json,
    )


def _annotated(
    archive: Path, wanted: Sequence[str], height_px: int
) -> list[tuple[str, list[np.ndarray], list[np.ndarray]]]:
    labels = open_labels(archive)
    found = []
    for footage in find_footage(archive):
        name = footage.video_id
        if name not in labels.videos() or (wanted and not any(part in name for part in wanted)):
            continue
        frames, truth = [], []
        for stem, picture_HW3 in footage.frames():
            scale = min(1.0, height_px / picture_HW3.shape[0])
            size = (round(scale * picture_HW3.shape[1]), round(scale * picture_HW3.shape[0]))
            annotation = labels.read(name, stem)
            assert isinstance(annotation, MaskAnnotation)
            mask_HW = np.where(annotation.ids_HW == 255, 0, annotation.ids_HW).astype(np.uint8)
            frames.append(cv2.resize(picture_HW3, size, interpolation=cv2.INTER_AREA))
            truth.append(cv2.resize(mask_HW, size, interpolation=cv2.INTER_NEAREST))
        found.append((name, frames, truth))
    return found


def _propagated(
    name: str,
    frames: list[np.ndarray],
    truth: list[np.ndarray],
    propagator: Propagator,
    scorer: ConfidenceModel,
) -> AnnotatedVideo:
    ids = [int(i) for i in np.unique(truth[0]) if i]
    judge = VideoConfidence(scorer)
    confidence_OT = np.full((len(ids), len(frames)), np.nan, np.float32)
    bits_OT = np.zeros(confidence_OT.shape, np.uint8)
    j_OT = np.full(confidence_OT.shape, np.nan)
    features = []
    for t, frame_HW3 in enumerate(frames):
        result = propagator.step(frame_HW3) if t else propagator.start(frame_HW3, truth[0])
        judged = judge.step(frame_HW3, result) if t else judge.start(frame_HW3, result)
        for each in judged:
            if each.object_id in ids and each.confidence is not None:
                confidence_OT[ids.index(each.object_id), t] = each.confidence
        j_OT[:, t] = _j(ids, truth[t], result.mask_HW)
        assert result.features_CHW is not None
        features.append(result.features_CHW)
    bits_OT[confidence_OT < LOW_CONFIDENCE] = LOW_BIT
    anchor_T = np.arange(len(frames)) == 0
    names = tuple(f"{t:05d}" for t in range(len(frames)))
    kinds = ("mask",) * len(ids)
    video = ReviewedVideo(name, 24.0, names, anchor_T, tuple(ids), kinds, confidence_OT, bits_OT)
    return AnnotatedVideo(video, frames, truth, features, j_OT)


def _row(
    each: AnnotatedVideo, rule: Sequence[Any], propagator: Propagator, tries: int
) -> dict[str, Any]:
    count = len(each.frames)
    spread = np.unique(np.linspace(1, count - 1, tries + 2).round().astype(int)[1:-1]).tolist()
    least_T = each.video.least_confidence
    wanted = {
        "middle": count // 2,
        "least_sure": int(np.nanargmin(np.where(np.arange(count) > 0, least_T, np.nan))),
    }
    if rule:
        wanted["rule"] = rule[0].index
    gains = {f: _gain(each, f, propagator) for f in {*spread, *wanted.values()}}
    return {
        "name": each.video.video_id,
        "frames": count,
        "labels": int(each.j_OT[:, 1:].size),
        "j_before": float(np.nanmean(each.j_OT[:, 1:])),
        "frame": wanted.get("rule"),
        "expected": rule[0].help if rule else 0.0,
        "rule": gains[wanted["rule"]] if rule else 0.0,
        "middle": gains[wanted["middle"]],
        "least_sure": gains[wanted["least_sure"]],
        "chance": float(np.mean([gains[f] for f in spread])),
        "best": max(gains.values()),
    }


def _gain(each: AnnotatedVideo, frame: int, propagator: Propagator) -> float:
    """J won by the true mask in a frame, summed over what follows.

    An annotation empties the memory of predictions, so what comes after it depends on annotated frames
    alone, and the frames before it need not be propagated again.
    """
    ids = list(each.video.object_ids)
    propagator.start(each.frames[0], each.truth[0])
    won = 0.0
    for t in range(frame, len(each.frames)):
        given = [MaskAnnotation(each.truth[t])] if t == frame else []
        result = propagator.step(each.frames[t], given, features_CHW=each.features[t])
        won += float(np.nansum(_j(ids, each.truth[t], result.mask_HW) - each.j_OT[:, t]))
    return won


def _j(ids: Sequence[int], truth_HW: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    return np.array([region_similarity(truth_HW == i, mask_HW == i) for i in ids])


if __name__ == "__main__":
    main()
