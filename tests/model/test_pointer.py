import math

import numpy as np
import pytest
import torch

from model.pointer import (
    copy_through_dense_pointer,
    copy_through_pointer,
    mixture_negative_log_likelihood,
)


def random_inputs(seed=0, clips=2, references=3, channels=5, values=4, size=(3, 4)):
    generator = torch.Generator().manual_seed(seed)
    refs = torch.randn(clips, references, channels, *size, generator=generator)
    target = torch.randn(clips, channels, *size, generator=generator)
    codes = torch.randint(0, values, (clips, references, *size), generator=generator)
    one_hot = torch.nn.functional.one_hot(codes, values).movedim(-1, 2).float()
    return refs, target, one_hot


def by_loops(refs, target, values, temperature):
    """Equations 1 and 2, one cell at a time, in numpy."""
    refs, target, values = (x.double().numpy() for x in (refs, target, values))
    clips, references, _, height, width = refs.shape
    result = np.zeros((clips, values.shape[2], height, width))
    cells = [(r, y, x) for r in range(references) for y in range(height) for x in range(width)]
    for b in range(clips):
        for y in range(height):
            for x in range(width):
                logits = [
                    refs[b, r, :, i, j] @ target[b, :, y, x] / temperature for r, i, j in cells
                ]
                weights = np.exp(np.array(logits) - max(logits))
                weights /= weights.sum()
                for weight, (r, i, j) in zip(weights, cells, strict=True):
                    result[b, :, y, x] += weight * values[b, r, :, i, j]
    return result


@pytest.mark.parametrize("copy", [copy_through_pointer, copy_through_dense_pointer])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_copies_as_the_equations_say(copy, temperature):
    refs, target, values = random_inputs()
    ours = copy(refs, target, values, temperature)
    assert np.allclose(ours.numpy(), by_loops(refs, target, values, temperature), atol=1e-5)


@pytest.mark.parametrize(("channels", "values"), [(64, 16), (8, 16), (16, 16)])
def test_fused_and_dense_have_the_same_gradients(channels, values):
    gradients = []
    for copy in (copy_through_pointer, copy_through_dense_pointer):
        refs, target, one_hot = random_inputs(channels=channels, values=values, size=(9, 7))
        refs.requires_grad_(), target.requires_grad_()
        mixture_negative_log_likelihood(copy(refs, target, one_hot), one_hot[:, 0]).backward()
        gradients.append((refs.grad, target.grad))
    for fused, dense in zip(*gradients, strict=True):
        assert torch.allclose(fused, dense, rtol=1e-3, atol=1e-6)


def test_the_softmax_is_joint_over_all_references():
    """A reference that matches far better takes nearly all the mass from the others."""
    refs, target, values = random_inputs(references=2)
    refs[:, 0] = 0
    refs[:, 1] = 10 * target
    diagonal = copy_through_pointer(refs, target, values)
    only_second = copy_through_pointer(refs[:, 1:], target, values[:, 1:])
    assert torch.allclose(diagonal, only_second, atol=1e-2)


def test_the_mixture_is_a_probability():
    mixture = copy_through_pointer(*random_inputs())
    assert torch.allclose(mixture.sum(dim=1), torch.ones_like(mixture[:, 0]), atol=1e-5)
    assert mixture.min() >= 0


def test_the_loss_is_the_log_of_the_mixture_and_no_second_softmax():
    mixture = torch.tensor([0.7, 0.2, 0.1]).reshape(1, 3, 1, 1)
    truth = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    loss = mixture_negative_log_likelihood(mixture, truth).item()
    assert loss == pytest.approx(-math.log(0.7), abs=1e-4)
    second_softmax = torch.nn.functional.cross_entropy(mixture[..., 0, 0], torch.tensor([0])).item()
    assert abs(loss - second_softmax) > 0.1


def test_channels_and_cells_are_not_confused():
    """Class and space stay apart: one wrong cell costs that cell only."""
    truth = torch.zeros(1, 3, 2, 5)
    truth[:, 1] = 1
    mixture = truth.clone() * 0.98 + 0.01 / 2
    good = mixture_negative_log_likelihood(mixture, truth)
    mixture[0, :, 1, 3] = torch.tensor([0.5, 0.25, 0.25])
    worse = mixture_negative_log_likelihood(mixture, truth)
    expected = good - (-math.log(0.985) + math.log(0.25)) / 10
    assert worse.item() == pytest.approx(expected.item(), abs=1e-3)


def test_a_colour_that_no_reference_has_keeps_the_loss_finite():
    mixture = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    truth = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)
    assert math.isfinite(mixture_negative_log_likelihood(mixture, truth).item())


def test_half_precision_stays_near_float32():
    refs, target, values = random_inputs(channels=64, values=16, size=(16, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = copy_through_pointer(refs / 4, target / 4, values)
    full = copy_through_dense_pointer(refs / 4, target / 4, values)
    assert half.dtype == torch.float32
    assert torch.allclose(half, full, atol=5e-3)
    truth = values[:, 0]
    losses = [mixture_negative_log_likelihood(mixture, truth) for mixture in (half, full)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-3)
