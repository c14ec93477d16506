"""Records into the columns of an Arrow table and back, a few thousand at a time.

A million records are a gigabyte of Python objects, but little more than their text as columns.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ROWS_AT_ONCE = 4096


def table_of(records: Iterable[object], schema: pa.Schema) -> pa.Table:
    """A row a record, from its attributes of the names in `schema` (two at least)."""
    values, rest = attrgetter(*schema.names), iter(records)
    batches = []
    while part := list(islice(rest, _ROWS_AT_ONCE)):
        columns = zip(*map(values, part), strict=True)
        arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
        batches.append(pa.record_batch(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema)


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows in order, as tuples."""
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def column_of(values: Iterable[object], kind: pa.DataType) -> pa.ChunkedArray:
    """A value a row."""
    rest = iter(values)
    chunks = []
    while part := list(islice(rest, _ROWS_AT_ONCE)):
        chunks.append(pa.array(part, kind))
    return pa.chunked_array(chunks, kind)


def with_column(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    """The table with other values in one of its columns."""
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)


def repeats(column: pa.ChunkedArray) -> np.ndarray:
    """Whether a row's value stands in a row before it, bool [n]. Sorting takes less memory than hashing."""
    order = np.asarray(pc.sort_indices(column))
    ordered = column.take(order)
    repeated = np.zeros(len(column), bool)
    repeated[order[1:]] = np.asarray(pc.equal(ordered[1:], ordered[:-1]))
    return repeated


def values_of(column: pa.ChunkedArray) -> Iterator[Any]:
    """The values in order."""
    return (value for (value,) in rows_of(pa.table({"": column})))
