"""Settings of a protocol as text: `top_k=15` and back."""

import types
from typing import Any, Literal, Union, get_args, get_origin

from model.errors import UserError


def parse_setting(key: str, hint: Any, text: str) -> Any:
    """The value that `text` stands for, of the type `hint`. Raises UserError for one that does not fit."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    optional = types.NoneType in kinds
    kind = next(kind for kind in kinds if kind is not types.NoneType)
    word = text.lower()
    if optional and word == "none":
        return None
    if get_origin(kind) is Literal:
        expected = " or ".join(get_args(kind))
        if text in get_args(kind):
            return text
    elif kind is bool:
        expected = "true or false"
        if word in ("true", "false"):
            return word == "true"
    elif get_origin(kind) is tuple and Ellipsis in get_args(kind):
        expected = "whole numbers with commas between them, or none"
        numbers = [] if word == "none" else [part.strip() for part in word.split(",")]
        if all(number.isdecimal() for number in numbers):
            return tuple(int(number) for number in numbers)
    elif get_origin(kind) is tuple:
        expected = "HEIGHTxWIDTH"
        sides = word.split("x")
        if len(sides) == 2 and all(side.isdecimal() for side in sides):
            return (int(sides[0]), int(sides[1]))
    else:
        expected = "a whole number" if kind is int else "a number"
        try:
            return kind(text)
        except ValueError:
            pass
    raise UserError(
        f"protocol setting {key}={text}: expected {expected}{' or none' if optional else ''}"
    )


def show_setting(key: str, value: Any) -> str:
    """`key=value` as `parse_setting` reads it."""
    if value is None or value == ():
        text = "none"
    elif isinstance(value, tuple):
        text = ("x" if key.endswith("_px") else ",").join(str(part) for part in value)
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{key}={text}"
