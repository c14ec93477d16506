"""Scores of a probe on a rendered square, with propagators whose answers are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from model.propagation.annotations import MaskAnnotation
from model.propagation.identity import IdentityPropagator
from model.propagation.results import Carried, PropagationResult
from pipelines.archive_plan import LabelSource, annotated_videos
from pipelines.labels.davis import davis_palette, write_mask
from pipelines.sequence_probe import probe_sequences

FRAMES = 5


def mask_of(index: int) -> np.ndarray:
    """A square of 8 px that moves 4 px a frame."""
    mask = np.zeros((24, 40), np.uint8)
    mask[8:16, 4 + 4 * index : 12 + 4 * index] = 1
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        frames = tmp_path / name / "frames"
        frames.mkdir(parents=True)
        for index in range(FRAMES):
            cv2.imwrite(str(frames / f"{index:05d}.png"), np.zeros((24, 40, 3), np.uint8))
            write_mask(tmp_path / name / "masks" / f"{index:05d}.png", mask_of(index))
    return tmp_path


def result_of(mask: np.ndarray) -> PropagationResult:
    return PropagationResult((Carried(MaskAnnotation(mask), torch.zeros(2, 3, 5), (0, 1)),))


class Knowing:
    """Gives the true masks of the first video, and the first mask of the second."""

    def __init__(self) -> None:
        self._videos = 0
        self._index = 0

    def start(self, frame_HW3: np.ndarray, mask_HW: np.ndarray) -> PropagationResult:
        self._videos += 1
        self._index = 0
        return result_of(mask_HW)

    def step(self, frame_HW3: np.ndarray) -> PropagationResult:
        self._index += 1
        mask = mask_of(self._index if self._videos == 1 else 0)
        return result_of(mask)


def test_scores_are_those_of_the_masks(folder: Path) -> None:
    probe = probe_sequences(annotated_videos(folder, LabelSource(folder)), folder, Knowing())
    one, two = probe.sequences
    assert (one.name, two.name) == ("one", "two")
    assert one.jf_mean == 1
    # The square stands 4, 8 and 12 px off in the scored frames: J is 1/3, 0 and 0.
    scores = probe.evaluation.sequences[1].objects[1]
    assert scores.j.mean == pytest.approx(1 / 9)
    assert two.jf_mean == pytest.approx((scores.j.mean + scores.f.mean) / 2)
    assert probe.evaluation.summary.jf_mean == pytest.approx((one.jf_mean + two.jf_mean) / 2)


def test_the_last_frame_is_shown_under_its_mask(folder: Path) -> None:
    probe = probe_sequences(
        annotated_videos(folder, LabelSource(folder)), folder, IdentityPropagator()
    )
    for sequence in probe.sequences:
        tinted = sequence.last_frame_HW3.any(axis=2)
        np.testing.assert_array_equal(tinted, mask_of(0) == 1)
        np.testing.assert_array_equal(sequence.last_frame_HW3[8, 4], davis_palette()[1])
