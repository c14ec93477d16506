"""Rows of our own into a Ray Data pipeline."""

from collections.abc import Sequence
from typing import Any

import ray


def groups_as_rows(
    groups: Sequence[Sequence[dict[str, Any]]], column: str, blocks: int
) -> ray.data.Dataset:
    """A row a group, for a stage that answers with a row for each of the group's records."""
    rows = [{column: list(group)} for group in groups]
    dataset = ray.data.from_items(rows, override_num_blocks=blocks)
    if any(len(group) > 1 for group in groups):
        # In bytes: an answer does not wait for the next one of its group. It costs the driver some
        # 20 ms an answer, so it is left alone where every answer is the only one.
        dataset.context.target_max_block_size = 1
    return dataset
