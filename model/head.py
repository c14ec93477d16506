"""Heads: trunk features of a clip -> the embedding that the pointer compares.

`TemporalHead` is that of Vondrick et al. 2018, section 3.4: the spatial position scaled to [-1, 1] is
appended to the trunk's features; five blocks follow, each a 1x3x3 convolution with spatial dilation 1,
2, 4, 8, 16 and a 3x1x1 convolution over time; a last 1x1x1 convolution gives 64 channels.

`LinearHead` is one 1x1 convolution of every frame for itself. It knows neither place nor neighbours,
so that a clip's colours can be told from the trunk's features alone: in short trainings these become
useful much sooner (docs/results.md).

Shape suffixes: B clips, T frames, C channels, h, w cells.
"""

import torch
from torch import Tensor, nn

DILATIONS = (1, 2, 4, 8, 16)


def position_channels(height: int, width: int) -> Tensor:
    """[2, h, w]: x then y, each from -1 (first cell) to 1 (last cell)."""
    y, x = torch.meshgrid(
        torch.linspace(-1.0, 1.0, height), torch.linspace(-1.0, 1.0, width), indexing="ij"
    )
    return torch.stack((x, y))


def _block(channels_in: int, channels: int, dilation: int) -> list[nn.Module]:
    """1x3x3 with spatial dilation, then 3x1x1 over time, batch norm and ReLU after each."""
    return [
        nn.Conv3d(
            channels_in,
            channels,
            (1, 3, 3),
            padding=(0, dilation, dilation),
            dilation=(1, dilation, dilation),
            bias=False,
        ),
        nn.BatchNorm3d(channels),
        nn.ReLU(inplace=True),
        nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(channels),
        nn.ReLU(inplace=True),
    ]


def _initialise_embedding(layer: nn.Conv2d | nn.Conv3d, mean_square: float) -> None:
    """For inputs of that mean square, dot products of fresh embeddings have a standard deviation of
    one to two, so that the first softmax is neither flat nor saturated (features are not normalised
    and T = 1)."""
    spread = layer.in_channels * mean_square * layer.out_channels**0.5
    nn.init.normal_(layer.weight, std=spread**-0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


class LinearHead(nn.Module):
    """Trunk features of a clip [B, T, C, h, w] -> embeddings [B, T, E, h, w], a frame at a time."""

    def __init__(self, channels: int = 256, embedding_channels: int = 64) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, embedding_channels, 1)
        _initialise_embedding(self.embed, mean_square=3.2)  # of a fresh trunk's features

    def forward(self, features_BTChw: Tensor) -> Tensor:
        flat: Tensor = self.embed(features_BTChw.flatten(0, 1))
        return flat.unflatten(0, features_BTChw.shape[:2])


class TemporalHead(nn.Module):
    """Trunk features of a clip [B, T, C, h, w] -> embeddings [B, T, E, h, w]."""

    def __init__(self, channels: int = 256, embedding_channels: int = 64) -> None:
        super().__init__()
        widths = (channels + 2, *(channels for _ in DILATIONS[1:]))
        layers = [
            layer
            for channels_in, dilation in zip(widths, DILATIONS, strict=True)
            for layer in _block(channels_in, channels, dilation)
        ]
        self.blocks = nn.Sequential(*layers)
        self.embed = nn.Conv3d(channels, embedding_channels, 1)
        for module in self.blocks:
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        _initialise_embedding(self.embed, mean_square=0.5)  # after batch norm and ReLU

    def forward(self, features_BTChw: Tensor) -> Tensor:
        batch, frames, _, height, width = features_BTChw.shape
        position = position_channels(height, width).to(features_BTChw)
        position = position[None, None].expand(batch, frames, -1, -1, -1)
        x_BCThw = torch.cat((features_BTChw, position), dim=2).transpose(1, 2)
        x_BCThw = x_BCThw.contiguous(memory_format=torch.channels_last_3d)
        embedding: Tensor = self.embed(self.blocks(x_BCThw))
        return embedding.transpose(1, 2)
