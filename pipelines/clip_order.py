"""The order in which training takes clips: pure arithmetic on (seed, position), no state.

The stream of clips never ends: one pass over all row groups follows another, each in its own random
order. Virtual epoch e is the clips e * E to (e + 1) * E of it, whatever the number of workers. Each
worker has a stretch of the epoch, as long as its share of every batch, in which clips are shuffled
block by block. So a row group is read once in a pass (twice where a stretch or a block begins in its
middle), and any batch can be had without those before it: a resumed training goes on with the very
batch that was next.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.clip_rows import BatchConfig, ClipRows

_GROUPS, _CLIPS = 0, 1


@dataclass(frozen=True, eq=False)
class Block:
    """N clips that are in memory together, in the order in which they are used."""

    position: int
    """Where the first one stands in the stream."""
    group_N: np.ndarray
    """Row group of each clip, an index into `ClipRows.group_G`."""
    clip_N: np.ndarray
    """The clip, an index into `ClipRows.row_C`."""

    def __len__(self) -> int:
        return len(self.clip_N)

    def part(self, start: int, count: int) -> "Block":
        """`count` of its clips from `start` on, fewer at the end."""
        part = slice(start, start + count)
        return Block(self.position + start, self.group_N[part], self.clip_N[part])


def share_of_batch(batch_size: int, rank: int, workers: int) -> range:
    """Which clips of a batch are those of worker `rank`: one more than others have, at most."""
    return range(batch_size * rank // workers, batch_size * (rank + 1) // workers)


@dataclass(frozen=True)
class ClipOrder:
    """The stream of the clips `rows`, as worker `rank` of `workers` sees it."""

    rows: ClipRows
    config: BatchConfig
    seed: int
    rank: int = 0
    workers: int = 1

    @property
    def batch_clips(self) -> int:
        """Clips of a batch that are this worker's."""
        return len(self._share)

    @property
    def _share(self) -> range:
        return share_of_batch(self.config.batch_size, self.rank, self.workers)

    def blocks(self, first: int) -> Iterator[Block]:
        """Blocks without end, from batch number `first` of the training on."""
        while True:
            block = self._block_with(first)
            yield block
            first += len(block) // self.batch_clips

    def _block_with(self, batch: int) -> Block:
        """The block in which this batch lies, without those of its batches that come before."""
        config, size = self.config, self.batch_clips
        epoch, in_epoch = divmod(batch, config.batches_per_epoch)
        batches = max(config.shuffle_buffer // size, 1)
        begin = in_epoch // batches * batches
        batches = min(batches, config.batches_per_epoch - begin)
        stretch = config.batches_per_epoch * self._share.start
        position = epoch * config.clips_per_epoch + stretch + begin * size
        group_N, clip_N = self._stream(position, batches * size)
        shuffled_N = np.random.default_rng((self.seed, _CLIPS, position)).permutation(len(clip_N))
        rest = shuffled_N[(in_epoch - begin) * size :]
        return Block(position + len(shuffled_N) - len(rest), group_N[rest], clip_N[rest])

    def _stream(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Row group and index of the clips number `start` to `start + count` of the stream."""
        groups, clips = [], []
        while count > 0:
            passed, offset = divmod(start, len(self.rows))
            taken = min(count, len(self.rows) - offset)
            group, clip = self._of_pass(passed, offset, taken)
            groups.append(group)
            clips.append(clip)
            start, count = start + taken, count - taken
        return np.concatenate(groups), np.concatenate(clips)

    def _of_pass(self, number: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        clips_G = self.rows.clips_G
        order_G = np.random.default_rng((self.seed, _GROUPS, number)).permutation(len(clips_G))
        ends_G = clips_G[order_G].cumsum()
        at_N = np.arange(start, start + count)
        which_N = np.searchsorted(ends_G, at_N, side="right")
        group_N = order_G[which_N]
        # From the place in this pass's order to the place in the order of the shards.
        return group_N, at_N - ends_G[which_N] + clips_G.cumsum()[group_N]
