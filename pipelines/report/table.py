"""The table of baselines: rows grouped by protocol, the best number of each group marked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from model.errors import UserError
from pipelines.report.records import TableRow

JF_MEAN = "J&F-Mean"
COLUMNS = (JF_MEAN, "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
LOWER_IS_BETTER = frozenset({"J-Decay", "F-Decay"})
DECIMALS = 3
MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """A printed number; `bar_percent` is its length as a bar, for the column that has bars."""

    text: str
    is_best: bool
    bar_percent: float | None


@dataclass(frozen=True)
class Line:
    """A model and its cells, in the order of the columns."""

    model: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """The models compared under one protocol."""

    protocol: str
    lines: tuple[Line, ...]


def grouped(rows: tuple[TableRow, ...]) -> list[Group]:
    """The rows by protocol, protocols and models in the order of their first row.

    Best is highest, for decay lowest, compared as printed; a group of one row has no best.

    Raises `UserError` on a number that is none of `COLUMNS`.
    """
    for row in rows:
        unknown = sorted(set(row.numbers) - set(COLUMNS))
        if unknown:
            raise UserError(f"model {row.model!r}: {unknown[0]!r} is no column of the table")
    by_protocol: dict[str, list[TableRow]] = {}
    for row in rows:
        by_protocol.setdefault(row.protocol, []).append(row)
    return [Group(protocol, _lines(members)) for protocol, members in by_protocol.items()]


def defined(numbers: Mapping[str, float | None], column: str) -> float | None:
    """The number, rounded as printed, or None where there is none."""
    value = numbers.get(column)
    return None if value is None or not math.isfinite(value) else round(value, DECIMALS)


def _lines(rows: list[TableRow]) -> tuple[Line, ...]:
    best: dict[str, float] = {}
    for column in COLUMNS:
        values = [v for row in rows if (v := defined(row.numbers, column)) is not None]
        if len(values) > 1:
            best[column] = min(values) if column in LOWER_IS_BETTER else max(values)
    return tuple(
        Line(row.model, tuple(_cell(row, c, best.get(c)) for c in COLUMNS)) for row in rows
    )


def _cell(row: TableRow, column: str, best: float | None) -> Cell:
    value = defined(row.numbers, column)
    if value is None:
        return Cell(MISSING, is_best=False, bar_percent=None)
    bar_percent = 100 * min(max(value, 0.0), 1.0) if column == JF_MEAN else None
    return Cell(f"{value:.{DECIMALS}f}", is_best=value == best, bar_percent=bar_percent)
