"""Records as columns, against plain Python."""

import random
from dataclasses import astuple, dataclass

import numpy as np
import pyarrow as pa
import pytest

from pipelines.columns import column_of, repeats, rows_of, table_of, values_of


@dataclass(frozen=True)
class Record:
    name: str
    size: int
    label: str | None


SCHEMA = pa.schema([("label", pa.string()), ("name", pa.string()), ("size", pa.int64())])


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_rows_come_back_in_order(count: int) -> None:
    records = [Record(f"č{i}", 2**62 + i, None if i % 3 else str(i)) for i in range(count)]
    table = table_of(iter(records), SCHEMA)
    assert table.schema.equals(SCHEMA)
    assert [(name, size, label) for label, name, size in rows_of(table)] == [
        astuple(record) for record in records
    ]
    assert list(values_of(table["name"])) == [record.name for record in records]
    column = column_of((record.label for record in records), pa.string())
    assert column.equals(table["label"])


@pytest.mark.parametrize("count", [0, 1, 3_000])
def test_what_came_before_is_found(count: int) -> None:
    words = [str(random.Random(i).randrange(2_000)) for i in range(count)]
    expected = [word in words[:i] for i, word in enumerate(words)]
    column = pa.chunked_array([words[:1_000], words[1_000:]], pa.string())
    assert np.array_equal(repeats(column), expected)
