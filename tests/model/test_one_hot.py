import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.one_hot import PackedClipBatch, reduce_one_hot, take_cells, unpack_bits
from pipelines.shards import ClipFormat, unpack_targets
from pipelines.targets import pack_one_hot


def random_one_hot(seed, clips=2, frames=2, clusters=5, cells=8):
    codes = np.random.default_rng(seed).integers(0, clusters, (clips, frames, cells, cells))
    return codes, torch.from_numpy(np.eye(clusters, dtype=np.uint8)[codes]).movedim(-1, 2)


def test_bits_are_unpacked_as_numpy_and_the_shards_do():
    clip_format = ClipFormat(frames=3, size_px=32, clusters=16)
    packed = np.random.default_rng(0).integers(0, 256, (7, clip_format.target_bytes), np.uint8)
    ours = unpack_bits(torch.from_numpy(packed), clip_format.target_shape).numpy()
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours.reshape(7, -1), np.unpackbits(packed, axis=1))
    np.testing.assert_array_equal(ours, unpack_targets(packed, clip_format))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.sampled_from([2, 4]))
def test_reduction_takes_the_commonest_code_of_each_block(seed, factor):
    codes, one_hot = random_one_hot(seed)
    reduced = reduce_one_hot(one_hot, factor)
    assert reduced.dtype == torch.uint8 and reduced.sum(dim=2).eq(1).all()
    for b, t, y, x in np.ndindex(2, 2, 8 // factor, 8 // factor):
        block = codes[b, t, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        counts = np.bincount(block.ravel(), minlength=5)
        assert reduced[b, t, :, y, x].argmax().item() == counts.argmax()


def test_each_clip_takes_its_own_cells():
    codes, one_hot = random_one_hot(3)
    rows, columns = np.random.default_rng(1).integers(0, 8, (2, 2, 8))
    taken = take_cells(one_hot, torch.from_numpy(rows), torch.from_numpy(columns)).argmax(dim=2)
    for b in range(2):
        np.testing.assert_array_equal(taken[b], codes[b][:, rows[b][:, None], columns[b]])


def test_a_batch_arrives_unpacked_then_reduced_then_rearranged():
    codes = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 16, (4, 4, 4)), 2, 1), 2, 2)
    packed = np.frombuffer(pack_one_hot(codes.astype(np.uint8), 16), np.uint8).copy()
    cells = torch.tensor([[[0, 1, 2, 3], [3, 2, 1, 0]]])
    grey = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    batch = PackedClipBatch(grey, torch.from_numpy(packed)[None], (4, 16, 8, 8), 2, cells)
    arrived = batch.to(torch.device("cpu"))
    assert arrived.target_BTKhw.shape == (1, 4, 16, 4, 4)
    np.testing.assert_array_equal(
        arrived.target_BTKhw.argmax(dim=2)[0], np.flip(codes[:, ::2, ::2], axis=2)
    )
