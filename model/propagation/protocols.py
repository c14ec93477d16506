"""Named sets of every setting that decides how labels are carried.

A number without its protocol says little: the same features move by tens of points of J&F between
two protocols. So a protocol is one frozen record, every result prints its name, and a changed
setting changes the name: `crw(top_k=15)`.

Each one says how its system carried labels when it was evaluated; the features are those of whatever
encoder it is used with. Radii are in cells, so of that encoder's own stride: a protocol made for
stride 4 looks twice as far in pixels at stride 8. The values are those for DAVIS. Other data sets are
overrides: `crw` ran JHMDB with frame_size_px=320x320 and recent_frames=7, VIP with 560x560 and 4; `uvc` ran
JHMDB with 320x320 and top_k=20.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, get_type_hints

from model.errors import UserError
from model.propagation.matching_protocol import MatchingProtocol
from model.propagation.setting_text import parse_setting, show_setting

ProtocolName = Literal[
    "vidcolor", "timecycle", "uvc", "corrflow", "mast", "crw", "vfs", "dino", "dinov3"
]
"""For options; a test holds it equal to the keys of `PROTOCOLS`."""

_ALL = (
    # Vondrick et al. 2018 (arXiv 1806.09594), inference: the last three frames, softmax over all of
    # their cells; no anchor, no locality, no top-k.
    MatchingProtocol(
        name="vidcolor",
        feature="embedding",  # the 64 channels after the 3-D head
        normalise=False,  # training compares plain dot products
        temperature=0.5,  # "adjusted" at test time
        frame_size_px=(256, 256),
        anchor_first=False,
        recent_frames=3,
        top_k=None,
        radius_cells=None,
        window_on_anchor=False,
        label_resize="nearest",
    ),
    # Wang et al. 2019, TimeCycle, released DAVIS test (xiaolonw/TimeCycle 16d33ac).
    MatchingProtocol(
        name="timecycle",
        feature="trunk",
        normalise=True,
        temperature=512**-0.5,  # 512 channels, whatever the encoder used here has
        frame_size_px=(320, 320),  # the first of three sizes in its README; 480x480 is its best
        anchor_first=True,
        recent_frames=7,
        top_k=5,  # of the released script; the code's default is 20
        radius_cells=None,
        window_on_anchor=False,
        label_resize="bilinear",
        pad_with_first=True,  # eight copies of frame 0 lie before the video
        softmax="per_frame",
        top_k_stage="after",
        rescale="carried",  # the rescaled map is what it stores
        keypoint_cells=5,
    ),
    # Li et al. 2019, UVC without its box tracking (Liusifei/UVC 4336938). It scales the short side to
    # 480 px and the long one to a multiple of 64; here a frame keeps its own size.
    MatchingProtocol(
        name="uvc",
        feature="trunk",
        normalise=False,
        temperature=1.0,
        frame_size_px=None,
        anchor_first=True,
        recent_frames=7,
        top_k=5,
        radius_cells=None,
        window_on_anchor=False,
        label_resize="nearest",
        pad_with_first=True,
        softmax="per_frame",
        top_k_stage="after",
        top_k_ties="all",  # what is below the fifth best becomes 0
        rescale="output",  # the written mask only; plain values are carried
        keypoint_cells=5,
    ),
    # Lai and Xie 2019, CorrFlow (zlai0/CorrFlow f6bd381): the frame before, decided at full size.
    # Made for stride 4. It interpolates the numbers of the labels to the grid, which mixes them;
    # here the pixel at the centre of a cell is taken.
    MatchingProtocol(
        name="corrflow",
        feature="trunk",
        normalise=False,
        temperature=1.0,
        frame_size_px=None,
        anchor_first=False,
        recent_frames=1,
        top_k=None,
        radius_cells=6.0,  # 13x13 cells
        window_on_anchor=True,
        label_resize="nearest",
        window_shape="square",
        window_closed=True,
        carried_state="hard",
    ),
    # Lai et al. 2020, MAST (zlai0/MAST a57b043): frames 0 and 5 and {i, i-2, i-4} for target i+1.
    # Made for stride 4. One departure: there the labels of all re-centred frames are read where the
    # windows of the last of them lie; here those of each frame where its own do.
    MatchingProtocol(
        name="mast",
        feature="trunk",
        normalise=False,
        temperature=1.0,
        frame_size_px=None,
        anchor_first=True,  # frame 0
        recent_frames=3,
        top_k=None,
        radius_cells=12.0,  # 25x25 cells
        window_on_anchor=True,
        label_resize="strided",  # [::4, ::4] there
        recent_step_frames=2,
        kept_frames=(5,),
        window_shape="square",
        window_closed=True,
        window_outside="zero",  # its correlation and its labels are padded with zeros
        recentre_after_frames=15,
        carried_state="hard",
    ),
    # Jabri et al. 2020 (arXiv 2006.14613) as their released code evaluates DAVIS.
    # Frame 0 is there twice: for good and without a window, and as copies with one. As long as there are
    # copies they fill most of the top-k, so that frame 0 is found again far away only where nothing
    # near is like it. Without the copies Lab colours lose 20 points of J&F and more on the first
    # frames of DAVIS motorbike and dog-agility.
    MatchingProtocol(
        name="crw",
        feature="trunk",
        normalise=True,
        temperature=0.05,  # of the released script; the paper's is 0.07
        frame_size_px=None,
        anchor_first=True,
        recent_frames=20,
        top_k=10,
        radius_cells=12.0,
        window_on_anchor=False,
        label_resize="bilinear",
        pad_with_first=True,  # 20 copies of frame 0 lie before the video
    ),
    # Xu and Wang 2021, VFS (xvjiarui/VFS 8e055cc), its ResNet-18; 18 cells with a ResNet-50.
    MatchingProtocol(
        name="vfs",
        feature="trunk",
        normalise=True,
        temperature=0.07,
        frame_size_px=None,
        anchor_first=True,
        recent_frames=20,
        top_k=10,
        radius_cells=12.0,
        window_on_anchor=True,
        label_resize="bilinear",  # assumed as in crw; not read in its code
        rescale="output",
        keypoint_cells=5,  # there after up-sampling, here on the grid
    ),
    # Caron et al. 2021, DINO, its DAVIS script (facebookresearch/dino, eval_video_segmentation.py). It
    # compares exp(logit) in float32 with its fifth best. Of logits above 1 (a cosine of 0.1) different
    # ones have different exponentials, so that comparing the logits is the same.
    MatchingProtocol(
        name="dino",
        feature="trunk",
        normalise=True,
        temperature=0.1,
        frame_size_px=None,
        anchor_first=True,
        recent_frames=7,
        top_k=5,
        radius_cells=12.0,
        window_on_anchor=True,
        label_resize="nearest",
        top_k_ties="all",
        window_shape="square",
        window_closed=True,
        rescale="output",
    ),
    # Simeoni et al. 2025, DINOv3, its notebook on segmentation tracking (6876159). It scales frames to a
    # short side of its own (960x1280 in the example); here a frame keeps its size.
    MatchingProtocol(
        name="dinov3",
        feature="trunk",
        normalise=True,
        temperature=0.2,
        frame_size_px=None,
        anchor_first=True,
        recent_frames=7,
        top_k=5,
        radius_cells=12.0,
        window_on_anchor=True,
        label_resize="nearest",  # assumed; not read in its code
        top_k_ties="all",
        window_closed=True,
        rescale="output",
    ),
)
PROTOCOLS: Mapping[str, MatchingProtocol] = types.MappingProxyType({p.name: p for p in _ALL})


def get_protocol(name: str, settings: Sequence[str] = ()) -> MatchingProtocol:
    """The protocol of that name, with `key=value` settings changed.

    Values are read by the type of the setting: `top_k=15`, `radius_cells=none`,
    `normalise=false`, `frame_size_px=256x448` (height x width), `label_resize=nearest`,
    `kept_frames=5,10`. What differs from the named protocol is added to the name. Raises UserError
    for an unknown name or setting, or a value that does not fit, and lists what would.
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
        chosen[key] = parse_setting(key, hints[key], text)
    changed = {
        field.name: chosen[field.name]
        for field in fields(base)
        if field.name in chosen and chosen[field.name] != getattr(base, field.name)
    }
    if not changed:
        return base
    label = ", ".join(show_setting(key, value) for key, value in changed.items())
    return replace(base, name=f"{name}({label})", **changed)
