"""What all evaluations of folders share: truth and predictions paired by name, numbers for JSON."""

import math
from collections.abc import Collection, Iterable, Sequence

from model.errors import UserError
from pipelines.storage import Location


def predictions_in(pred: Location) -> Location:
    """The labels of an output of `huetrack propagate`, else the folder itself."""
    labels = pred / "labels"
    return labels if (pred / "summary.json").is_file() and labels.is_dir() else pred


def names_to_score(
    truth: Location,
    true_names: Collection[str],
    pred: Location,
    predicted_names: Collection[str],
    sequences: Sequence[str] | None,
    what: str,
) -> list[str]:
    """The sequences to score, in order: all that `truth` has unless some are named.

    Raises:
        UserError: there are none, or a folder lacks one; `what` says of which file.
    """
    names = sorted(true_names if sequences is None else set(sequences))
    if not names:
        raise UserError("no sequence to score")
    for folder, there in ((truth, true_names), (pred, predicted_names)):
        missing = (name for name in names if name not in there)
        refuse_missing(folder, missing, f"{what} for sequence")
    return names


def refuse_missing(folder: Location, names: Iterable[str], what: str) -> None:
    """Raise a UserError that names the first of `names`, if there is one."""
    missing = list(names)
    if missing:
        more = f" (nor for {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(f"{folder}: no {what} {missing[0]!r}{more}")


def json_number(value: float) -> float | None:
    """JSON has neither NaN nor infinity; both become null."""
    return float(value) if math.isfinite(value) else None


def json_numbers(values: Iterable[float]) -> list[float | None]:
    """A list of them."""
    return [json_number(value) for value in values]
