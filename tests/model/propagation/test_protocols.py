"""Named protocols, their overrides and what bad ones get."""

import json
from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from jobs.propagate_options import PropagateOptions
from model.errors import UserError
from model.propagation.protocols import PROTOCOLS, get_protocol

COMMON = {
    "recent_step_frames": 1,
    "kept_frames": [],
    "pad_with_first": False,
    "softmax": "joint",
    "top_k_stage": "before",
    "window_shape": "disc",
    "window_closed": False,
    "window_outside": "unseen",
    "recentre_after_frames": None,
    "top_k_ties": "first",
    "carried_state": "soft",
    "rescale": "none",
    "keypoint_mode": "reference",
    "keypoint_cells": 3,
}


def test_vidcolor_is_the_papers_inference() -> None:
    assert get_protocol("vidcolor").describe() == {
        "name": "vidcolor",
        "feature": "embedding",
        "normalise": False,
        "temperature": 0.5,
        "frame_size_px": [256, 256],
        "anchor_first": False,
        "recent_frames": 3,
        "top_k": None,
        "radius_cells": None,
        "window_on_anchor": False,
        "label_resize": "nearest",
        **COMMON,
    }


def test_crw_is_the_released_evaluation() -> None:
    assert get_protocol("crw").describe() == {
        "name": "crw",
        "feature": "trunk",
        "normalise": True,
        "temperature": 0.05,
        "frame_size_px": None,
        "anchor_first": True,
        "recent_frames": 20,
        "top_k": 10,
        "radius_cells": 12.0,
        "window_on_anchor": False,
        "label_resize": "bilinear",
        **COMMON,
        "pad_with_first": True,
    }


# Context, softmax, top-k, window, state, rescaling and temperature as method surveys tabulate them.
TABLE = {
    "vidcolor": ("3", "joint", None, None, "soft", "none", 0.5),
    "timecycle": ("first+7", "per_frame", "5 after", None, "soft", "carried", 512**-0.5),
    "uvc": ("first+7", "per_frame", "5 after", None, "soft", "output", 1.0),
    "corrflow": ("1", "joint", None, "square<=6", "hard", "none", 1.0),
    "mast": ("first+5+3/2", "joint", None, "square<=12", "hard", "none", 1.0),
    "crw": ("first+20", "joint", "10 before", "disc<12", "soft", "none", 0.05),
    "vfs": ("first+20", "joint", "10 before", "disc<12", "soft", "output", 0.07),
    "dino": ("first+7", "joint", "5 before", "square<=12", "soft", "output", 0.1),
    "dinov3": ("first+7", "joint", "5 before", "disc<=12", "soft", "output", 0.2),
}


def test_every_protocol_is_in_the_table() -> None:
    assert set(TABLE) == set(PROTOCOLS)


@pytest.mark.parametrize("name", TABLE)
def test_settings_of_the_published_systems(name: str) -> None:
    protocol = get_protocol(name)
    context = "first+" * protocol.anchor_first
    context += "".join(f"{number}+" for number in protocol.kept_frames)
    context += str(protocol.recent_frames)
    if protocol.recent_step_frames > 1:
        context += f"/{protocol.recent_step_frames}"
    matching = protocol.matching
    top_k = None if matching.top_k is None else f"{matching.top_k} {matching.top_k_stage}"
    window = None
    if matching.radius_cells is not None:
        edge = "<=" if matching.window_closed else "<"
        window = f"{matching.window_shape}{edge}{matching.radius_cells:g}"
    assert TABLE[name] == (
        context,
        matching.softmax,
        top_k,
        window,
        protocol.carried_state,
        protocol.rescale,
        protocol.temperature,
    )


def test_windows_ties_and_places_outside_of_the_published_systems() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.top_k_ties == ("all" if name in ("uvc", "dino", "dinov3") else "first")
        assert protocol.window_outside == ("zero" if name == "mast" else "unseen")
        assert protocol.recentre_after_frames == (15 if name == "mast" else None)


def test_the_search_of_mast_widens_with_the_age_of_a_frame() -> None:
    ages = {1: 0, 15: 0, 16: 2, 29: 2, 30: 3, 44: 3, 45: 4, 60: 4, 1000: 4}
    mast = get_protocol("mast")
    assert {age: mast.search_dilation(age) for age in ages} == ages
    assert get_protocol("mast", ["recentre_after_frames=none"]).search_dilation(1000) == 0
    assert get_protocol("crw").search_dilation(1000) == 0


def test_the_command_offers_every_protocol() -> None:
    hints = get_type_hints(PropagateOptions)
    assert set(get_args(hints["protocol"])) == set(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_description_survives_json(name: str) -> None:
    described = get_protocol(name).describe()
    assert described["name"] == name
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("top_k=15", "top_k", 15),
        ("top_k=none", "top_k", None),
        (" radius_cells = 7.5 ", "radius_cells", 7.5),
        ("normalise=False", "normalise", False),
        ("frame_size_px=256x448", "frame_size_px", (256, 448)),
        ("label_resize=nearest", "label_resize", "nearest"),
        ("recent_frames=0", "recent_frames", 0),
        ("kept_frames=5, 10", "kept_frames", (5, 10)),
        ("softmax=per_frame", "softmax", "per_frame"),
    ],
)
def test_override_is_typed(setting: str, key: str, value: object) -> None:
    changed = get_protocol("crw", [setting])
    assert getattr(changed, key) == value
    assert type(getattr(changed, key)) is type(value)
    assert replace(changed, name="crw", **{key: getattr(PROTOCOLS["crw"], key)}) == PROTOCOLS["crw"]


def test_changed_settings_show_in_the_name() -> None:
    changed = get_protocol("crw", ["frame_size_px=64x96", "top_k=5", "temperature=0.07"])
    assert changed.name == "crw(temperature=0.07, frame_size_px=64x96, top_k=5)"
    assert get_protocol("crw", ["radius_cells=none"]).name == "crw(radius_cells=none)"
    assert get_protocol("mast", ["kept_frames=none"]).name == "mast(kept_frames=none)"
    assert get_protocol("crw", ["kept_frames=5,10"]).name == "crw(kept_frames=5,10)"
    assert get_protocol("crw", ["top_k=10"]) is PROTOCOLS["crw"]
    assert get_protocol("crw", ["top_k=4", "top_k=10"]).name == "crw"


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("CRW", None, r"unknown protocol 'CRW'; there are: vidcolor, timecycle, .*dinov3"),
        ("crw", "topk=3", r"unknown protocol setting 'topk'; there are: feature, .*label_resize"),
        ("crw", "name=mine", r"unknown protocol setting 'name'"),
        ("crw", "top_k", r"'top_k' is not of the form key=value"),
        ("crw", "top_k=ten", r"top_k=ten: expected a whole number or none"),
        ("crw", "top_k=2.5", r"top_k=2.5: expected a whole number or none"),
        ("crw", "recent_frames=none", r"recent_frames=none: expected a whole number$"),
        ("crw", "normalise=1", r"normalise=1: expected true or false"),
        ("crw", "feature=rgb", r"feature=rgb: expected embedding or trunk"),
        ("crw", "frame_size_px=256", r"frame_size_px=256: expected HEIGHTxWIDTH or none"),
        ("crw", "frame_size_px=0x8", r"frame_size_px: \(0, 8\) is too small"),
        ("crw", "kept_frames=5;6", r"kept_frames=5;6: expected whole numbers with commas"),
        ("crw", "window_shape=round", r"window_shape=round: expected disc or square"),
        ("mast", "recent_step_frames=0", r"recent_step_frames: 0 is below 1"),
        ("crw", "keypoint_cells=0", r"keypoint_cells: 0 is below 1"),
        ("crw", "top_k=0", r"top_k: 0 is below 1"),
        ("mast", "top_k=5", r"recentre_after_frames: 15 needs top_k=none, window_shape=square"),
        ("mast", "recentre_after_frames=0", r"recentre_after_frames: 0 is below 1"),
        ("mast", "radius_cells=200", r"radius_cells: 200.0 is above 100"),
        ("crw", "top_k_ties=none", r"top_k_ties=none: expected first or all"),
        ("crw", "temperature=0", r"temperature: 0.0 is not a positive number"),
        ("crw", "temperature=nan", r"temperature: nan is not a positive number"),
        ("crw", "radius_cells=-1", r"radius_cells: -1.0 is not a positive number"),
        ("crw", "recent_frames=-1", r"recent_frames: -1 leaves no frame"),
        ("vidcolor", "recent_frames=0", r"recent_frames: 0 leaves no frame"),
    ],
)
def test_bad_choice_names_what_would_fit(name: str, setting: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        get_protocol(name, [] if setting is None else [setting])
    assert "\n" not in str(error.value)
