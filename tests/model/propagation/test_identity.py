"""The propagator that repeats what was annotated."""

import numpy as np

from model.propagation.identity import IdentityPropagator
from tests.model.propagation.moving_blocks import moving_blocks


def test_identity_repeats_the_first_mask() -> None:
    video = moving_blocks(3, (16, 20), (8, 8), (125, 153))
    identity = IdentityPropagator()
    given = video.masks[0].copy()
    identity.start(video.frames[0], given)
    given[:] = 0  # what a caller does with an array, its own or a result, changes no later result
    identity.step(video.frames[1]).mask_HW[:] = 0
    result = identity.step(video.frames[2])
    np.testing.assert_array_equal(result.mask_HW, video.masks[0])
    assert result.object_ids == (0, 3, 200)
    assert result.probabilities_LHW.shape == (3, 16, 20)
