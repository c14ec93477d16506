"""The trunk: ResNet-18 cut to output stride 8, one grey frame at a time.

Vondrick et al. 2018: ResNet-18 altered to give 32x32x256 for a 256x256 frame, down-sampling by
strided convolutions instead of pooling. Strides 2 (stem), 2, 2, 1, 1; the last stage keeps the
width of the third one.

Shape suffixes: N frames (clips times frames), C channels, H, W pixels, h, w cells.
"""

from torch import Tensor, nn

STRIDE_PX = 8


class ResidualBlock(nn.Module):
    """The basic block of He et al. 2016 (fig. 2): two 3x3 convolutions beside a shortcut, [N, C, h, w].

    That of torchvision, under the same names; it is not imported, since torchvision takes longer to start
    than PyTorch itself, and every worker would pay.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        stride: int = 1,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample = shortcut

    def forward(self, features: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(features)))))
        branch += features if self.downsample is None else self.downsample(features)
        result: Tensor = self.relu(branch)
        return result


def _stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Two residual blocks (ResNet-18); the first one changes width and stride."""
    # Loading torchvision takes seconds, which commands that only name a network need not wait for.

    shortcut = None
    if stride != 1 or channels_in != channels_out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
            nn.BatchNorm2d(channels_out),
        )
    return nn.Sequential(
        ResidualBlock(channels_in, channels_out, stride, shortcut),
        ResidualBlock(channels_out, channels_out),
    )


class Trunk(nn.Module):
    """[N, 1, H, W] grey in [-1, 1] -> [N, 4 * width, ceil(H / 8), ceil(W / 8)]."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.channels = 4 * width
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.Sequential(
            _stage(width, width, stride=2),
            _stage(width, 2 * width, stride=2),
            _stage(2 * width, 4 * width, stride=1),
            _stage(4 * width, 4 * width, stride=1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, grey_N1HW: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(grey_N1HW))
        return features
