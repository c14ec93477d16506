import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.colorizer import (
    Colorizer,
    ColorizerConfig,
    load_colorizer,
    normalise_grey,
    read_notes,
    save_colorizer,
)
from model.errors import UserError
from model.head import DILATIONS, LinearHead, TemporalHead, position_channels
from model.objectives.colorization import ClipBatch, Colorization
from model.trunk import Trunk

SMALL = ColorizerConfig(width=4, embedding_channels=8)


@pytest.fixture
def colorizer():
    torch.manual_seed(0)
    return Colorizer(SMALL).eval()


def test_the_papers_shapes():
    trunk = Trunk(64)
    assert trunk(torch.zeros(1, 1, 256, 256)).shape == (1, 256, 32, 32)
    assert TemporalHead(256, 64)(torch.zeros(1, 4, 256, 4, 4)).shape == (1, 4, 64, 4, 4)
    assert DILATIONS == (1, 2, 4, 8, 16)


@pytest.mark.parametrize(
    ("size", "cells"), [((64, 64), (8, 8)), ((72, 40), (9, 5)), ((60, 61), (8, 8))]
)
def test_output_stride_is_eight_for_any_size(colorizer, size, cells):
    assert colorizer(torch.zeros(1, 4, *size)).shape == (1, 4, 8, *cells)


def test_the_trunk_has_no_pooling_and_two_blocks_a_stage():
    trunk = Trunk(8)
    kinds = [type(module).__name__ for module in trunk.modules()]
    assert "MaxPool2d" not in kinds
    assert kinds.count("ResidualBlock") == 8


def test_position_channels_run_from_minus_one_to_one():
    x, y = position_channels(3, 5)
    assert x[0].tolist() == pytest.approx([-1, -0.5, 0, 0.5, 1])
    assert y[:, 0].tolist() == pytest.approx([-1, 0, 1])


def test_the_head_sees_where_a_cell_is():
    torch.manual_seed(0)
    head = TemporalHead(8, 4).eval()
    embeddings = head(torch.zeros(1, 4, 8, 6, 6))[0, 0]
    assert not torch.allclose(embeddings[:, 2, 2], embeddings[:, 3, 4])


def test_the_linear_head_knows_neither_place_nor_neighbours():
    torch.manual_seed(0)
    head = LinearHead(8, 4)
    features = torch.rand(2, 4, 8, 6, 5)
    embeddings = head(features)
    assert embeddings.shape == (2, 4, 4, 6, 5)
    shuffled = torch.randperm(30)
    moved = features.flatten(3)[..., shuffled].unflatten(3, (6, 5))
    assert torch.allclose(
        head(moved), embeddings.flatten(3)[..., shuffled].unflatten(3, (6, 5)), atol=1e-6
    )
    assert torch.allclose(head(features[:, [3, 1]]), embeddings[:, [3, 1]], atol=1e-6)


@pytest.mark.parametrize("head", ["temporal", "linear"])
def test_fresh_logits_are_neither_flat_nor_saturated(head):
    torch.manual_seed(0)
    colorizer = Colorizer(ColorizerConfig(width=16, head=head))
    embeddings = colorizer(torch.rand(2, 4, 64, 64) * 2 - 1).flatten(3)
    logits = torch.einsum("bci,bcj->bij", embeddings[:, 3], embeddings[:, 0])
    assert 0.2 < logits.std() < 5


@pytest.mark.parametrize("changed", range(4))
def test_every_frame_sees_all_four(colorizer, changed):
    """The temporal convolutions really cross frames (and padding keeps the number of frames)."""
    torch.manual_seed(1)
    clip = torch.rand(1, 4, 64, 64)
    other = clip.clone()
    other[:, changed] = torch.rand(64, 64)
    difference = (colorizer(clip) - colorizer(other)).abs().amax(dim=(0, 2, 3, 4))
    assert (difference > 1e-6).all()


def test_trunk_features_do_not_see_other_frames(colorizer):
    clip = torch.rand(1, 4, 64, 64)
    other = clip.clone()
    other[:, 1] = 0
    difference = (colorizer.features(clip) - colorizer.features(other)).abs().amax(dim=(0, 2, 3, 4))
    assert difference[1] > 0
    assert difference[[0, 2, 3]].max() == 0


def test_clips_of_a_batch_do_not_mix(colorizer):
    first, second = torch.rand(1, 4, 64, 64), torch.rand(1, 4, 64, 64)
    together = colorizer(torch.cat((first, second)))
    assert torch.allclose(together[:1], colorizer(first), atol=1e-5)
    assert torch.allclose(together[1:], colorizer(second), atol=1e-5)


@pytest.mark.parametrize("head", ["temporal", "linear"])
def test_gradient_reaches_every_weight(head):
    torch.manual_seed(0)
    objective = Colorization(Colorizer(replace(SMALL, head=head)))
    codes = torch.randint(0, 16, (2, 4, 8, 8))
    target = torch.nn.functional.one_hot(codes, 16).permute(0, 1, 4, 2, 3).to(torch.uint8)
    grey = torch.randint(0, 256, (2, 4, 64, 64), dtype=torch.uint8)
    objective(ClipBatch(grey, target)).loss.backward()
    # The bias of the embedding shifts all logits of a target cell alike where the target is
    # concerned, so its gradient may be small, but the trunk's first weights must be reached.
    without = [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert objective.colorizer.trunk.stem[0].weight.grad.abs().sum() > 0


def test_grey_is_scaled_to_minus_one_to_one():
    assert normalise_grey(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("head", ["temporal", "linear"])
def test_saved_weights_come_back(head, tmp_path):
    colorizer = Colorizer(replace(SMALL, head=head)).eval()
    path = tmp_path / "model.safetensors"
    save_colorizer(colorizer, path)
    back = load_colorizer(path)
    clip = torch.rand(1, 4, 64, 64)
    assert back.config == colorizer.config
    assert torch.equal(back(clip), colorizer(clip))
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_weights_are_the_same_bytes(colorizer, tmp_path):
    notes = {name: name.upper() for name in ("step", "run", "mix", "a longer name")}
    for index in range(8):
        save_colorizer(colorizer, tmp_path / f"{index}", notes)
    assert len({(tmp_path / f"{index}").read_bytes() for index in range(8)}) == 1
    assert read_notes(tmp_path / "0") == notes


def test_a_checkpoint_of_another_shape_is_refused_by_name(colorizer, tmp_path):
    path = tmp_path / "model.safetensors"
    save_colorizer(colorizer, path)
    wider = json.dumps({"width": 8, "embedding_channels": 8})
    save_file(load_file(path), path, metadata={"colorizer": wider})
    with pytest.raises(UserError, match=r"model\.safetensors: trunk\.stem\.0\.weight has shape"):
        load_colorizer(path)


def test_an_unknown_head_is_refused(colorizer, tmp_path):
    with pytest.raises(UserError, match="head must be one of temporal, linear"):
        ColorizerConfig(head="cubic")
    path = tmp_path / "model.safetensors"
    save_colorizer(colorizer, path)
    save_file(load_file(path), path, metadata={"colorizer": json.dumps({"head": "cubic"})})
    with pytest.raises(UserError, match=r"model\.safetensors: .*head must be one of"):
        load_colorizer(path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04K\x01."])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a colouriser checkpoint"):
        load_colorizer(path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.safetensors: no such checkpoint"):
        load_colorizer(tmp_path / "gone.safetensors")
