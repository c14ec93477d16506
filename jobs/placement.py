"""`--label-selector`: on which nodes of a cluster a stage's workers run."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

from cyclopts import Parameter

from model.errors import UserError

LabelSelectorOption = Annotated[tuple[str, ...], Parameter(negative="")]


def label_selector(texts: Sequence[str]) -> dict[str, str]:
    """`["huetrack/group=decode"]` -> what Ray takes. Raises `UserError` for what it would not take."""
    from ray._private.label_utils import validate_label_selector

    selector = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--label-selector {text}: must be KEY=VALUE")
        selector[key] = value
    problem = validate_label_selector(selector)
    if problem:
        raise UserError(f"--label-selector: {problem}")
    return selector


def tell_if_nowhere(selector: Mapping[str, str]) -> None:
    """Say so when no node of the connected Ray has these labels now: work waits for one that has.

    Conditions other than equality are left to Ray.
    """
    import ray

    plain = {k: v for k, v in selector.items() if not v.startswith(("!", "in("))}
    labels = [node.get("Labels", {}) for node in ray.nodes() if node["Alive"]]
    if plain and not any(plain.items() <= node.items() for node in labels):
        wanted = ", ".join(f"{key}={value}" for key, value in plain.items())
        print(f"no node is labelled {wanted} now; work waits until one is", file=sys.stderr)
