"""Any ResNet of torchvision at stride 8: the output of `layer3` with its stride taken away.

That is how Jabri et al. 2020 (CRW) and Xu & Wang 2021 (VFS) evaluate: every convolution of `layer3` has
stride 1 and is not dilated, so the cells are twice as fine as the weights were trained with; `layer4`
is not used. 256 channels (ResNet-18, -34) or 1024 (ResNet-50 and up, ResNeXt, wide).
"""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Literal

import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from model.errors import UserError
from model.propagation.encoders.backbone import Backbone, feature_channels
from model.propagation.encoders.checkpoints import load_weights, read_checkpoint, without_prefix

STRIDE_PX = 8
PARTS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
_UNUSED = ("layer4.", "fc.")
_FIRST_BLOCK = "layer1.0.conv1.weight"
_OTHER_NAMES = (
    # ConvModule of OpenMMLab, in VFS's files
    (r"\bconv(\d)\.conv\.", r"conv\1."),
    (r"\bconv(\d)\.bn\.", r"bn\1."),
    (r"\bdownsample\.conv\.", "downsample.0."),
    (r"\bdownsample\.bn\.", "downsample.1."),
    # padding as a module before the convolution, in CRW's files
    (r"\bconv(\d)\.1\.weight$", r"conv\1.weight"),
)


def resnet_names() -> list[str]:
    """The ResNets that torchvision has."""
    return list(list_models(module=torchvision.models, include=("*resnet*", "resnext*")))


def load_resnet(name: str, weights: Path | Literal["pretrained", "random"]) -> Backbone:
    """A ResNet by torchvision's name.

    `pretrained` are the weights `IMAGENET1K_V1`, those of published comparisons, from torchvision's
    cache or the network; a path is a file of weights with torchvision's names, those of CRW's or VFS's
    code, or either below a prefix. Raises UserError for an unknown name, weights that do not fit, and
    pretrained ones that cannot be had.
    """
    if name not in resnet_names():
        raise UserError(
            f"torchvision:{name}: no such ResNet; there are: {', '.join(resnet_names())}"
        )
    pretrained = get_model_weights(name).IMAGENET1K_V1
    try:
        whole = get_model(name, weights=pretrained if weights == "pretrained" else None)
    except OSError as error:
        raise UserError(
            f"torchvision:{name}: its pretrained weights cannot be had ({error}); download "
            f"{pretrained.url} elsewhere and name the file with --weights, or use --weights random"
        ) from error
    network = nn.Sequential(OrderedDict((part, getattr(whole, part)) for part in PARTS))
    for module in network.get_submodule("layer3").modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    if isinstance(weights, Path):
        tensors = without_prefix(read_checkpoint(weights), _FIRST_BLOCK, weights, _torchvision_key)
        load_weights(network, tensors, weights, unused=_UNUSED)
    preset = pretrained.transforms()
    return Backbone(
        network=network,
        layer="layer3 at stride 1",
        stride_px=STRIDE_PX,
        channels=feature_channels(network, STRIDE_PX),
        mean_rgb=tuple(preset.mean),
        std_rgb=tuple(preset.std),
    )


def _torchvision_key(key: str) -> str:
    for pattern, name in _OTHER_NAMES:
        key = re.sub(pattern, name, key)
    return key
