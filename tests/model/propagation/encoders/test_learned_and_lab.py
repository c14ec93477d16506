import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from model.colorizer import Colorizer, ColorizerConfig, normalise_grey
from model.errors import UserError
from model.propagation.encoders import (
    LAB_VARIANCE,
    ColorizerEncoder,
    JoinedEncoder,
    LabEncoder,
    Mix,
    join_lab,
    luma,
)
from model.propagation.protocols import get_protocol


def frame(seed, size=(32, 48)):
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (3, *size), dtype=np.uint8)
    )


def logits(encoder, reference_frames, target_frame):
    references = [encoder.encode(f) for f in reference_frames]
    keys, query = encoder.match(references, encoder.encode(target_frame))
    return torch.einsum("rchw,cxy->rhwxy", torch.stack(keys), query)


@pytest.fixture(scope="module")
def colorizer():
    torch.manual_seed(0)
    return Colorizer(ColorizerConfig(width=4, embedding_channels=8)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["learned", "lab", "joined"])
def test_a_batch_is_its_frames_one_by_one(colorizer, kind):
    encoder = ColorizerEncoder(colorizer, get_protocol("crw")) if kind != "lab" else LabEncoder()
    if kind == "joined":
        encoder = join_lab(encoder, 16, Mix())
    frames = torch.stack([frame(seed) for seed in range(3)])
    alone = torch.stack([encoder.encode(each) for each in frames])
    torch.testing.assert_close(encoder.encode(frames), alone)
    assert encoder.encode(frames[:1]).shape == alone[:1].shape


def test_luma_is_the_y_plane_of_jpeg():
    rgb = frame(0)
    theirs = np.asarray(Image.fromarray(rgb.permute(1, 2, 0).numpy()).convert("YCbCr"))[..., 0]
    assert np.abs(luma(rgb).numpy() - theirs).max() <= 1


@torch.inference_mode()
def test_lab_logits_are_squared_distances_up_to_a_constant_of_the_target():
    a, b = frame(1), frame(2)

    def cells(image):
        lab = rgb2lab(np.moveaxis(image.numpy(), 0, -1))
        return lab.reshape(4, 8, 6, 8, 3).mean(axis=(1, 3)).reshape(-1, 3)

    distance = ((cells(a)[:, None] - cells(b)[None]) ** 2).sum(-1)
    expected = -distance / (2 * LAB_VARIANCE)
    ours = logits(LabEncoder(), [a], b).reshape(24, 24).numpy()
    constant = (ours - expected).mean(axis=0, keepdims=True)
    assert np.allclose(ours - expected, constant, atol=0.02)


@torch.inference_mode()
def test_crw_logits_are_cosines_over_the_temperature(colorizer):
    protocol = get_protocol("crw")
    a, b = frame(1), frame(2)
    ours = logits(ColorizerEncoder(colorizer, protocol), [a], b)[0].reshape(24, 24)
    features = [colorizer.features(normalise_grey(luma(f))[None, None])[0, 0] for f in (a, b)]
    unit = [f.reshape(f.shape[0], -1) / f.reshape(f.shape[0], -1).norm(dim=0) for f in features]
    assert torch.allclose(ours, unit[0].T @ unit[1] / 0.05, atol=1e-3)


@torch.inference_mode()
def test_vidcolor_embeds_references_and_target_together(colorizer):
    frames = [frame(i) for i in range(4)]
    ours = logits(ColorizerEncoder(colorizer, get_protocol("vidcolor")), frames[:3], frames[3])
    grey = torch.stack([normalise_grey(luma(f)) for f in frames])[None]
    embeddings = colorizer(grey)[0]
    expected = torch.einsum("rchw,cxy->rhwxy", embeddings[:3], embeddings[3]) / 0.5
    assert torch.allclose(ours, expected, atol=1e-3)


@torch.inference_mode()
def test_a_short_window_is_padded_with_the_first_frame_and_each_key_is_used_once(colorizer):
    encoder = ColorizerEncoder(colorizer, get_protocol("vidcolor"))
    ours = logits(encoder, [frame(0)], frame(1))
    assert ours.shape[0] == 1
    grey = torch.stack([normalise_grey(luma(frame(i))) for i in (0, 0, 0, 1)])[None]
    embeddings = colorizer(grey)[0]
    expected = torch.einsum("chw,cxy->hwxy", embeddings[2], embeddings[3]) / 0.5
    assert torch.allclose(ours[0], expected, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["crw", "vidcolor"])
def test_joined_logits_are_the_sum_of_both(colorizer, name):
    first, second = ColorizerEncoder(colorizer, get_protocol(name)), LabEncoder()
    joined = JoinedEncoder(first, colorizer.trunk.channels, second)
    references, target = [frame(1), frame(2)], frame(3)
    expected = logits(first, references, target) + logits(second, references, target)
    assert torch.allclose(logits(joined, references, target), expected, atol=0.02)


def test_the_embedding_refuses_a_context_that_the_head_never_saw(colorizer):
    with pytest.raises(UserError, match="last 3 frames"):
        ColorizerEncoder(colorizer, get_protocol("crw", ["feature=embedding"]))


@torch.inference_mode()
def test_a_mix_scales_the_features_and_sets_the_variance_of_the_colours(colorizer):
    protocol = get_protocol("crw")
    learned = ColorizerEncoder(colorizer, protocol)
    references, target = [frame(1), frame(2)], frame(3)
    mixed = join_lab(learned, colorizer.trunk.channels, Mix(2.5, 100.0))
    expected = logits(learned, references, target) / 2.5
    expected += logits(LabEncoder(), references, target) * (LAB_VARIANCE / 100.0)
    assert torch.allclose(logits(mixed, references, target), expected, atol=0.02)
    plain = join_lab(learned, colorizer.trunk.channels, Mix())
    before = JoinedEncoder(learned, colorizer.trunk.channels, LabEncoder())
    assert torch.equal(logits(plain, references, target), logits(before, references, target))


def test_encoders_of_different_strides_do_not_join(colorizer):
    learned = ColorizerEncoder(colorizer, get_protocol("crw"))
    with pytest.raises(ValueError, match="strides of 8 and 16"):
        JoinedEncoder(learned, colorizer.trunk.channels, LabEncoder(16))


@pytest.mark.parametrize("values", [(0.0, 40.0), (1.0, -1.0), (float("nan"), 1.0), ("1", 40.0)])
def test_a_mix_is_of_positive_numbers(values):
    with pytest.raises(UserError, match="positive number"):
        Mix(*values)
