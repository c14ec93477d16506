import functools
import math
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from model.errors import UserError
from model.fitter import Diverged, FitConfig, learning_rate_at
from model.objectives.colorization import ClipBatch
from tests.model.clips import make_fitter, shifted_clips


def test_the_learning_rate_follows_the_papers_schedule():
    config = FitConfig()
    rates = [learning_rate_at(step, config) for step in (0, 59_999, 60_000, 399_999)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_a_state_that_was_saved_and_loaded_goes_on_as_if_nothing_had_happened(tmp_path):
    batches = [shifted_clips(i) for i in range(8)]
    straight = make_fitter(steps=8)
    for batch in batches:
        straight.train_step(batch)
    first = make_fitter(steps=8)
    for batch in batches[:4]:
        first.train_step(batch)
    torch.save(first.state_dict(), tmp_path / "checkpoint.pt")
    second = make_fitter(seed=5, steps=8)
    second.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert second.step == 4
    for batch in batches[4:]:
        second.train_step(batch)
    for ours, theirs in zip(
        second.objective.state_dict().values(),
        straight.objective.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_a_loss_that_is_not_a_number_stops_the_training():
    fitter = make_fitter(steps=5)
    with torch.no_grad():
        fitter.objective.colorizer.head.embed.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="step 0"):
        fitter.train_step(shifted_clips(0))


@pytest.mark.parametrize("settings", [{"steps": 0}, {"lr_drop_at": 1.5}, {"log_every": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError):
        FitConfig(**settings)


def test_bf16_gives_nearly_the_same_loss():
    torch.set_num_threads(1)
    full, half = make_fitter(steps=1), make_fitter(steps=1, precision="bf16")
    batch = shifted_clips(0)
    a, b = full.train_step(batch).loss.item(), half.train_step(batch).loss.item()
    assert a == pytest.approx(b, rel=0.05)
    assert all(p.dtype == torch.float32 for p in half.objective.parameters())


def weights(fitter):
    return torch.cat([p.detach().flatten() for p in fitter.objective.parameters()])


def gradients(fitter):
    return torch.cat([p.grad.flatten() for p in fitter.objective.parameters()])


def part_of(batch, first, end):
    return ClipBatch(batch.grey_BTHW[first:end], batch.target_BTKhw[first:end])


def test_accumulated_gradients_are_those_of_the_mean_over_parts():
    """Plain SGD by hand on each part, with batch norm seeing a part at a time."""
    batch = shifted_clips(0, clips=5)
    fitter, plain = make_fitter(accumulate=2, clip_grad_norm=1e9), make_fitter()
    loss = fitter.train_step(batch).loss
    expected = 0.0
    for lo, hi in ((0, 3), (3, 5)):
        result = plain.objective(part_of(batch, lo, hi))
        (result.loss * (hi - lo) / 5).backward()
        expected += result.loss.item() * (hi - lo) / 5
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(gradients(fitter), gradients(plain), atol=1e-6)


def test_a_batch_that_made_the_loss_no_number_comes_with_the_error_and_changes_no_weight():
    fitter = make_fitter(steps=5)
    fitter.train_step(shifted_clips(1))
    before = weights(fitter)
    with torch.no_grad():
        fitter.objective.colorizer.head.embed.bias.fill_(math.inf)
    before = weights(fitter)
    batch = shifted_clips(0)
    with pytest.raises(Diverged, match="step 1") as caught:
        fitter.train_step(batch)
    assert torch.equal(caught.value.batch.grey_BTHW, batch.grey_BTHW)
    assert torch.equal(weights(fitter), before)


def test_a_gradient_that_is_not_finite_under_a_finite_loss_changes_no_weight():
    fitter = make_fitter(steps=5)
    fitter.train_step(shifted_clips(1))
    before = weights(fitter)
    weight = fitter.objective.colorizer.head.embed.weight
    broken = weight.register_hook(lambda gradient: gradient * math.inf)
    batch = shifted_clips(0)
    with pytest.raises(Diverged, match=r"gradient norm is (nan|inf) at step 1") as caught:
        fitter.train_step(batch)
    assert torch.equal(caught.value.batch.grey_BTHW, batch.grey_BTHW)
    assert torch.equal(weights(fitter), before)
    broken.remove()
    fitter.train_step(batch)  # nothing is left of it, in the optimiser's moments neither
    assert weights(fitter).isfinite().all()


def _two_workers(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=200),
    )
    fitter = make_fitter(
        accumulate=2,
        wrap=torch.nn.parallel.DistributedDataParallel,
    )
    fitter.train_step(shifted_clips(rank))
    seen = {"weights": weights(fitter), "own_statistics": statistics(fitter)}
    seen["held_out"], _ = fitter.evaluate([shifted_clips(999)])
    seen["statistics"] = statistics(fitter)
    fitter = make_fitter(
        loss_weight=(0.5, 1.5)[rank],
        clip_grad_norm=1e9,
        wrap=torch.nn.parallel.DistributedDataParallel,
    )
    fitter.train_step(part_of(shifted_clips(0), *((0, 1), (1, 4))[rank]))
    seen["gradients"] = gradients(fitter)
    torch.save(seen, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def statistics(fitter):
    """Of batch norm."""
    return torch.cat([buffer.detach().flatten() for buffer in fitter.objective.buffers()])


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory):
    """What each of two workers had after a step."""
    folder = tmp_path_factory.mktemp("workers")
    torch.multiprocessing.spawn(_two_workers, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_all_workers_validate_the_network_that_rank_0_saves(two_workers):
    """Weights are the same on all, statistics of batch norm are not."""
    first, second = two_workers
    assert not torch.equal(first["own_statistics"], second["own_statistics"])
    assert torch.equal(first["statistics"], first["own_statistics"])
    assert torch.equal(second["statistics"], first["own_statistics"])
    assert torch.equal(first["held_out"], second["held_out"])


def test_workers_that_accumulate_exchange_gradients_once(two_workers):
    """Both end with the same weights, those of the mean gradient over all parts of both."""
    first, second = (worker["weights"] for worker in two_workers)
    assert torch.equal(first, second)
    plain = make_fitter()
    for rank in (0, 1):
        for part in shifted_clips(rank).split(2):
            (plain.objective(part).loss / 4).backward()
    torch.nn.utils.clip_grad_norm_(plain.objective.parameters(), plain.config.clip_grad_norm)
    plain.optimizer.step()
    assert torch.allclose(first, weights(plain), atol=1e-4)


def test_workers_with_more_clips_than_others_count_for_more(two_workers):
    """One has a clip, the other three: the gradient is the mean over clips, not over workers."""
    first, second = (worker["gradients"] for worker in two_workers)
    assert torch.equal(first, second)
    plain, clips = make_fitter(), shifted_clips(0)
    for first_clip, end in ((0, 1), (1, 4)):
        part = part_of(clips, first_clip, end)
        (plain.objective(part).loss * (len(part) / len(clips))).backward()
    assert torch.allclose(first, gradients(plain), atol=1e-5)


def same_losses(plain, compiled):
    for seed in range(2):
        batch = shifted_clips(seed)
        expected = plain.train_step(batch).loss.item()
        assert compiled.train_step(batch).loss.item() == pytest.approx(expected, rel=1e-3)
    assert list(compiled.state_dict()["objective"]) == list(plain.state_dict()["objective"])


def test_a_step_can_be_captured_for_compiling(monkeypatch: pytest.MonkeyPatch):
    """Without generating machine code, which takes a minute."""
    capture = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", capture)
    same_losses(make_fitter(), make_fitter(compile="on"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_compiled_step_on_a_gpu_gives_the_same_loss():
    same_losses(make_fitter(), make_fitter(device="cuda", compile="on"))
