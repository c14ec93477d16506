"""Small clips and trainings for the tests beside it."""

import torch

from model.colorizer import Colorizer, ColorizerConfig
from model.fitter import FitConfig, Fitter
from model.objectives.colorization import ClipBatch, Colorization


def shifted_clips(seed, clips=4, side=64):
    """Four frames of blocks whose grey value tells their colour, moved by one cell a frame."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 16, (clips, side // 8, side // 8), generator=generator)
    moved = torch.stack([codes.roll(t, dims=2) for t in range(4)], dim=1)
    target = torch.nn.functional.one_hot(moved, 16).permute(0, 1, 4, 2, 3).to(torch.uint8)
    grey = (moved * 16).repeat_interleave(8, 2).repeat_interleave(8, 3).to(torch.uint8)
    return ClipBatch(grey, target)


def make_fitter(seed=0, wrap=None, device="cpu", loss_weight=1.0, **settings):
    torch.manual_seed(seed)
    defaults = {
        "precision": "float32",
        "log_every": 5,
        "validate_every": 20,
        "checkpoint_every": 20,
    }
    config = FitConfig(**(defaults | settings))
    objective = Colorization(Colorizer(ColorizerConfig(4, 16)))
    return Fitter(objective, config, torch.device(device), wrap, loss_weight)
