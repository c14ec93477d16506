"""Any backbone of timm that takes frames of any size.

- Transformers with patch tokens: the tokens after the last block and the final norm, one per patch;
  class and register tokens are left out. The position embedding is resized to the frame
  (`dynamic_img_size`), so the stride is the patch.
- Convolutional networks (and others with several scales): the last output at stride 8, or where there
  is none at stride 16.
"""

import difflib
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Literal

import timm
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg, is_model_in_modules
from torch import Tensor, nn

from model.errors import UserError
from model.propagation.encoders.backbone import Backbone, feature_channels
from model.propagation.encoders.checkpoints import load_weights, read_checkpoint, without_prefix

STRIDES_PX = (8, 16)
"""Wanted of networks with several scales, the best first."""
_TOKEN_MODULES = ("vision_transformer", "eva", "deit")
"""timm's files of transformers that resize their position embedding."""
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_HUB_TIMEOUT_S = 10.0


class _FeatureMap(nn.Module):
    """A timm model as one feature map: RGB [B,3,H,W] -> [B,C,h,w]."""

    model: Any

    def __init__(self, model: nn.Module, index: int, norm: bool) -> None:
        super().__init__()
        self.model = model
        self._index = index
        self._norm = norm

    def forward(self, rgb_B3HW: Tensor) -> Tensor:
        maps: list[Tensor] = self.model.forward_intermediates(
            rgb_B3HW,
            indices=[self._index],
            norm=self._norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return maps[-1]


def load_timm(name: str, weights: Path | Literal["pretrained", "random"]) -> Backbone:
    """A backbone by timm's name, with its tag where it has one (`vit_small_patch14_dinov2.lvd142m`).

    `pretrained` weights come from the Hugging Face cache or the network; a path is a file with timm's
    names, or those of the original code where timm knows how to read them. Raises UserError for an
    unknown name, a model that cannot be used at any size, weights that do not fit, and pretrained ones
    that cannot be had.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.3)
        raise UserError(f"timm:{name}: no such model; the nearest are {', '.join(close)}")
    model = _create(name, weights)
    if isinstance(weights, Path):
        _load_file(model, weights)
    index, norm = _output(model, name)
    info = model.feature_info[index]
    network = _FeatureMap(model, index, norm)
    try:
        channels = feature_channels(network, info["reduction"])
    except Exception as error:  # each family has its own way of refusing
        reason = str(error).partition("\n")[0]
        raise UserError(f"timm:{name}: does not take frames of any size ({reason})") from error
    data = resolve_model_data_config(model)
    return Backbone(
        network=network,
        layer=f"{info['module']}, normalised" if norm else info["module"],
        stride_px=info["reduction"],
        channels=channels,
        mean_rgb=tuple(data["mean"]),
        std_rgb=tuple(data["std"]),
    )


def _create(name: str, weights: Path | Literal["pretrained", "random"]) -> Any:
    """The whole model without its classifier."""
    settings: dict[str, Any] = {"num_classes": 0}
    if is_model_in_modules(name, _TOKEN_MODULES):
        settings["dynamic_img_size"] = True
    if weights != "pretrained":
        return timm.create_model(name, pretrained=False, **settings)
    cached = _cached_or_reachable(name)
    if cached is not None:
        settings["pretrained_cfg_overlay"] = {"file": str(cached)}
    try:
        return timm.create_model(name, pretrained=True, **settings)
    except (OSError, RuntimeError) as error:
        raise _not_to_be_had(name, str(error).partition("\n")[0]) from error


def _cached_or_reachable(name: str) -> Path | None:
    """The file in the Hugging Face cache, or None where the hub answers. Raises UserError otherwise.

    timm would ask the hub even for what is in the cache, and again and again where it does not answer.
    """
    config = get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        raise UserError(f"timm:{name}: has no pretrained weights; use --weights FILE or random")
    if not config.hf_hub_id or isinstance(
        config.custom_load, str
    ):  # a format that timm reads by itself
        return None
    files = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
    for file in files:
        cached = try_to_load_from_cache(config.hf_hub_id, file)
        if isinstance(cached, str):
            return Path(cached)
    request = urllib.request.Request(hf_hub_url(config.hf_hub_id, files[0]), method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return None  # it answers: timm knows better what to ask for
    except OSError as error:
        raise _not_to_be_had(name, str(error)) from error
    return None


def _not_to_be_had(name: str, reason: str) -> UserError:
    config = get_pretrained_cfg(name)
    hub = config.hf_hub_id if config is not None else None
    where = f"{_HUB_FILES[0]} of {hub} on the Hugging Face hub" if hub else "the weights"
    return UserError(
        f"timm:{name}: its pretrained weights cannot be had ({reason}); download {where} elsewhere "
        "and name the file with --weights, or use --weights random"
    )


def _load_file(model: Any, path: Path) -> None:
    """Weights of a file, through timm's own conversion of foreign names where the family has one."""
    anchor = max(model.state_dict(), key=len)
    tensors = without_prefix(read_checkpoint(path), anchor, path)
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        try:
            tensors = convert(tensors, model)
        except (KeyError, RuntimeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: does not fit this model ({error!r})") from error
    classifiers = model.pretrained_cfg.get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else classifiers
    load_weights(model, tensors, path, unused=[f"{part}." for part in classifiers])


def _output(model: Any, name: str) -> tuple[int, bool]:
    """Which output of the model is used, and whether the final norm is applied to it."""
    if not hasattr(model, "forward_intermediates") or not getattr(model, "feature_info", None):
        raise UserError(f"timm:{name}: gives no feature maps")
    strides = [info["reduction"] for info in model.feature_info]
    if hasattr(model, "num_prefix_tokens") and len(set(strides)) == 1:
        return len(strides) - 1, True
    for wanted in STRIDES_PX:
        if wanted in strides:
            return len(strides) - 1 - strides[::-1].index(wanted), False
    raise UserError(f"timm:{name}: has no output at stride 8 or 16 (it has {sorted(set(strides))})")
