import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from model.trunk import ResidualBlock


def shortcut() -> nn.Module:
    return nn.Sequential(nn.Conv2d(6, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))


@pytest.mark.parametrize(("channels_out", "stride", "down"), [(6, 1, None), (8, 2, shortcut)])
@pytest.mark.parametrize("training", [False, True])
def test_a_block_is_that_of_torchvision(channels_out, stride, down, training):
    blocks = []
    for block_type in (ResidualBlock, BasicBlock):
        torch.manual_seed(3)
        blocks.append(block_type(6, channels_out, stride, down and down()).train(training))
    ours, theirs = blocks
    weights, expected = ours.state_dict(), theirs.state_dict()
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    features = torch.randn(2, 6, 9, 12)
    assert torch.equal(ours(features), theirs(features))
