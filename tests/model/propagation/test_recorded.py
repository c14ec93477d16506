"""Labels that come after the affinities were found, against a run with all labels together."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
    BoxAnnotation,
    KeypointAnnotation,
    MaskAnnotation,
    PointAnnotation,
)
from model.propagation.engine import Propagator
from model.propagation.protocols import PROTOCOLS, get_protocol
from model.propagation.recorded import AffinityFolder, replay
from tests.model.propagation.stubs import ColourCodes

RANDOM = np.random.default_rng(1)
FRAMES = [
    cells.repeat(8, axis=0).repeat(8, axis=1)[:61, :75]
    for cells in RANDOM.integers(0, 256, (7, 8, 10, 3), dtype=np.uint8)
]


def mask(left: int, value: int) -> MaskAnnotation:
    ids = np.zeros((61, 75), np.uint8)
    ids[10:50, left : left + 25] = value
    return MaskAnnotation(ids)


MASKS: dict[int, Sequence[Annotation]] = {0: [mask(10, 7)], 4: [mask(30, 9)]}
OTHERS: dict[int, Sequence[Annotation]] = {
    0: [KeypointAnnotation((3,), np.array([[[20.0, 31.0], [60.0, 9.0]]]))],
    4: [BoxAnnotation((1, 2), np.array([[8.0, 8, 20, 24], [40, 16, 24, 30]]))],
}


def small(name: str) -> list[str]:
    return ["frame_size_px=64x80"] if PROTOCOLS[name].frame_size_px else []


def together(first: Mapping[int, Sequence[Annotation]], other: Mapping[int, Sequence[Annotation]]):
    return {time: [*first.get(time, ()), *other.get(time, ())] for time in {*first, *other}}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_later_labels_are_carried_as_if_they_had_been_there(name: str, tmp_path: Path) -> None:
    protocol = get_protocol(name, small(name))
    encoder = ColourCodes(temperature=0.1)
    folder = AffinityFolder(tmp_path / "affinities")
    recorded = list(Propagator(encoder, protocol, record=folder).run(FRAMES, MASKS))
    encoded = len(encoder.encoded)
    replayed = list(replay(folder, OTHERS))
    assert len(encoder.encoded) == encoded
    joint = list(Propagator(encoder, protocol).run(FRAMES, together(MASKS, OTHERS)))
    assert len(replayed) == len(joint) == 7
    for ours, theirs, masks in zip(replayed, joint, recorded, strict=True):
        np.testing.assert_array_equal(masks.mask_HW, theirs.mask_HW)
        for each in theirs.carried:
            if isinstance(each.record, MaskAnnotation):
                continue
            own = ours.of(type(each.record))
            assert own is not None and own.names == each.names
            torch.testing.assert_close(own.soft_Lhw, each.soft_Lhw, atol=1e-5, rtol=0)
    assert [len(result.carried) for result in replayed] == [1] * 4 + [2] * 3


def test_a_frame_takes_eight_bytes_for_each_kept_cell(tmp_path: Path) -> None:
    frames = [np.zeros((256, 320, 3), np.uint8)] * 2
    folder = tmp_path / "affinities"
    labels = {0: [PointAnnotation((1,), np.array([[9.0, 9.0]]))]}
    propagator = Propagator(
        ColourCodes(temperature=0.1), get_protocol("crw"), record=AffinityFolder(folder)
    )
    list(propagator.run(frames, labels))
    bound = 32 * 40 * 10 * 8
    assert bound < (folder / "000001.safetensors").stat().st_size < 1.05 * bound


def test_what_cannot_be_replayed_is_refused(tmp_path: Path) -> None:
    folder = AffinityFolder(tmp_path)
    with pytest.raises(UserError, match=r"video\.json: no record of a video's affinities"):
        next(replay(folder, MASKS))
    propagator = Propagator(ColourCodes(temperature=0.1), get_protocol("crw"), record=folder)
    list(propagator.run(FRAMES, MASKS))
    with pytest.raises(UserError, match="not empty, no place for the affinities"):
        propagator.start(FRAMES[0], MASKS[0])
    with pytest.raises(UserError, match=r"frame 2 has labels; .* with annotations in 0, 4 only"):
        next(replay(folder, {2: [mask(1, 1)]}))
    with pytest.raises(UserError, match="no recorded frame is annotated"):
        next(replay(folder, {}))
    with pytest.raises(UserError, match="the first mask has no object"):
        next(replay(folder, {0: [mask(0, 0)]}))
    with pytest.raises(UserError, match="mask is 60x61 px"):
        next(replay(folder, {0: [MaskAnnotation(np.ones((61, 60), np.uint8))]}))
    (tmp_path / "000003.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"000003\.safetensors: no affinity of a frame"):
        list(replay(folder, {0: [mask(1, 1)]}))
