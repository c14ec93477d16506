"""Named sets of every setting that decides how labels are carried.

A number without its protocol says little: the same features move by tens of points of J&F between
two protocols. So a protocol is one frozen record, every result prints its name, and a changed
setting changes the name: `crw(top_k=15)`.

What all protocols here share, and is therefore no setting: one softmax over all context cells
together (`model.propagation.affinity`), soft labels carried from frame to frame as predicted
(no argmax, no rescaling between frames), soft maps up-sampled bilinearly, then the most likely
label.
"""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from model.errors import UserError


@dataclass(frozen=True)
class MatchingProtocol:
    """Every setting of a propagation. Raises UserError for a value out of range."""

    name: str
    """Printed beside every number; with overrides in brackets."""

    feature: Literal["embedding", "trunk"]
    """`embedding`: output of the head (it sees the context frames too); `trunk`: 2-D features."""

    normalise: bool
    """Scale the feature of every cell to unit L2 length before matching."""

    temperature: float
    """The dot product is divided by it before the softmax."""

    frame_size_px: tuple[int, int] | None
    """(height, width) a frame is squashed to before encoding; None keeps its own size."""

    anchor_first: bool
    """Keep annotated frames in the context for good, beside the recent ones."""

    recent_frames: int
    """How many of the latest frames are in the context (anchors that are kept do not count)."""

    top_k: int | None
    """Cells that enter the softmax, over all context frames together; None: all of them."""

    radius_cells: float | None
    """A cell sees context cells strictly closer than this; None: no window."""

    window_on_anchor: bool
    """Whether the window also limits the anchors that are kept."""

    label_resize: Literal["nearest", "bilinear"]
    """How first masks get to the cell grid: the pixel at each cell's centre, or the mean of the
    pixels next to it (bilinear, align_corners False, no antialias)."""

    def __post_init__(self) -> None:
        for key in ("temperature", "radius_cells"):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"protocol setting {key}: {value} is not a positive number")
        if self.frame_size_px is not None and min(self.frame_size_px) < 1:
            raise UserError(f"protocol setting frame_size_px: {self.frame_size_px} is too small")
        if self.recent_frames < 0 or (self.recent_frames == 0 and not self.anchor_first):
            raise UserError(
                f"protocol setting recent_frames: {self.recent_frames} leaves no frame to match"
            )
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"protocol setting top_k: {self.top_k} is below 1")

    def describe(self) -> dict[str, Any]:
        """All settings under their names, ready for JSON."""
        settings = asdict(self)
        if self.frame_size_px is not None:
            settings["frame_size_px"] = list(self.frame_size_px)
        return settings


PROTOCOLS: Mapping[str, MatchingProtocol] = types.MappingProxyType(
    {
        # Vondrick et al. 2018 (arXiv 1806.09594), inference: no anchor, no locality, no top-k.
        "vidcolor": MatchingProtocol(
            name="vidcolor",
            feature="embedding",
            normalise=False,
            temperature=0.5,
            frame_size_px=(256, 256),
            anchor_first=False,
            recent_frames=3,
            top_k=None,
            radius_cells=None,
            window_on_anchor=False,
            label_resize="nearest",
        ),
        # Jabri et al. 2020 (arXiv 2006.14613) as their released code evaluates DAVIS.
        # Two departures. That code puts 20 copies of frame 0 before the video; here each frame is
        # in the context once. It leaves frame 0 itself without a window, but the copies have one
        # and fill the top-k, so that in effect the window holds; here it holds for the anchor too.
        # (Without it Lab colours lose 20 points of J&F and more on the first frames of DAVIS
        # motorbike and dog-agility.) `window_on_anchor=false` takes it away.
        "crw": MatchingProtocol(
            name="crw",
            feature="trunk",
            normalise=True,
            temperature=0.05,
            frame_size_px=None,
            anchor_first=True,
            recent_frames=20,
            top_k=10,
            radius_cells=12.0,
            window_on_anchor=True,
            label_resize="bilinear",
        ),
    }
)


def get_protocol(name: str, settings: Sequence[str] = ()) -> MatchingProtocol:
    """The protocol of that name, with `key=value` settings changed.

    Values are read by the type of the setting: `top_k=15`, `radius_cells=none`,
    `normalise=false`, `frame_size_px=256x448` (height x width), `label_resize=nearest`. What
    differs from the named protocol is added to the name. Raises UserError for an unknown name or
    setting, or a value that does not fit, and lists what would.
    """
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    base = PROTOCOLS[name]
    hints = {key: hint for key, hint in get_type_hints(MatchingProtocol).items() if key != "name"}
    chosen: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(f"protocol setting {setting!r} is not of the form key=value")
        if key not in hints:
            raise UserError(f"unknown protocol setting {key!r}; there are: {', '.join(hints)}")
        chosen[key] = _parse(key, hints[key], text)
    changed = {
        field.name: chosen[field.name]
        for field in fields(base)
        if field.name in chosen and chosen[field.name] != getattr(base, field.name)
    }
    if not changed:
        return base
    label = ", ".join(f"{key}={_show(value)}" for key, value in changed.items())
    return replace(base, name=f"{name}({label})", **changed)


def _parse(key: str, hint: Any, text: str) -> Any:
    """The value that `text` stands for, of the type `hint`."""
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


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(str(side) for side in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
