"""What waits in a file comes back as it was."""

import numpy as np
import pytest
import torch

from model.errors import UserError
from model.propagation.annotations import MaskAnnotation, PointAnnotation
from pipelines.spill import Spill, SpilledFrames, SpilledLabels


def test_frames_are_lossless_in_any_order():
    frames = list(np.random.default_rng(0).integers(0, 256, (3, 7, 9, 3)).astype(np.uint8))
    with Spill() as spill:
        spilled = SpilledFrames(spill)
        for frame in frames:
            spilled.append(frame)
        assert len(spilled) == 3
        for index in (2, 0, 1, 2):
            np.testing.assert_array_equal(spilled[index], frames[index])
        with pytest.raises(UserError, match="a frame of shape"):
            spilled.append(np.zeros((0, 4, 3), np.uint8))


def test_labels_keep_their_type_and_names():
    labels = {
        MaskAnnotation: (torch.rand(2, 3, 4).to(torch.float16), (0, 5)),
        PointAnnotation: (torch.rand(1, 3, 4), (9,)),
    }
    with Spill() as spill:
        spilled = SpilledLabels(spill)
        spilled[4] = labels
        spilled[3] = {}
        assert list(spilled) == [4, 3]
        found = spilled.pop(4, {})
        for kind, (soft, names) in labels.items():
            assert found[kind][0].dtype == soft.dtype
            assert torch.equal(found[kind][0], soft)
            assert found[kind][1] == names
        assert spilled.pop(4, {}) == {} and len(spilled) == 1
