"""`--model`: what the names stand for, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from model.errors import UserError
from model.propagation.encoders import ColorizerEncoder, JoinedEncoder, LabEncoder, Mix
from model.propagation.encoders.backbone import BackboneEncoder
from model.propagation.engine import Propagator
from model.propagation.identity import IdentityPropagator
from model.propagation.protocols import get_protocol
from pipelines.flow import FlowPropagator
from pipelines.mix import save_mix
from pipelines.models import (
    ModelSpec,
    build_encoder,
    build_propagator,
    parse_model,
    read_backbone,
)

CRW = get_protocol("crw")
FRAME = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8, generator=torch.manual_seed(0))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(3)
    colorizer = Colorizer(ColorizerConfig(width=4, embedding_channels=8, head="linear"))
    save_colorizer(colorizer, folder / "model.safetensors")
    return folder


def parse(name: object, seed: int = 0, weights: str | None = None) -> ModelSpec:
    return parse_model(str(name), untrained_width=4, seed=seed, weights=weights)


def test_a_run_folder_and_its_weights_are_the_same_model(run: Path) -> None:
    by_folder, by_file = parse(run), parse(run / "model.safetensors")
    assert by_folder == by_file
    assert by_folder.describe() == {
        "kind": "trained",
        "weights": str((run / "model.safetensors").resolve()),
    }


def test_names_give_their_encoders(run: Path) -> None:
    assert isinstance(build_encoder(parse("lab"), CRW, "cpu"), LabEncoder)
    assert isinstance(build_encoder(parse("untrained"), CRW, "cpu"), ColorizerEncoder)
    assert isinstance(build_encoder(parse(run), CRW, "cpu"), ColorizerEncoder)
    assert isinstance(build_encoder(parse(f"{run}+lab"), CRW, "cpu"), JoinedEncoder)
    assert isinstance(build_propagator(parse("identity"), CRW, "cpu"), IdentityPropagator)
    assert isinstance(build_propagator(parse("flow"), CRW, "cpu"), FlowPropagator)
    assert isinstance(build_propagator(parse("lab"), CRW, "cpu"), Propagator)


def test_joined_features_are_both_side_by_side(run: Path) -> None:
    joined = build_encoder(parse(f"{run}+lab"), CRW, "cpu").encode(FRAME)
    alone = build_encoder(parse(run), CRW, "cpu").encode(FRAME)
    lab = build_encoder(parse("lab"), CRW, "cpu").encode(FRAME)
    assert torch.equal(joined, torch.cat((alone, lab)))
    assert parse(f"{run}+lab").describe()["kind"] == "trained+lab"


def test_the_seed_decides_the_untrained_network_and_nothing_else() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        build_encoder(parse("untrained", seed), CRW, "cpu").encode(FRAME) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_record_says_that_a_baseline_uses_no_setting_of_the_protocol() -> None:
    assert parse("lab").describe_protocol(CRW) == CRW.describe()
    for name in ("identity", "flow"):
        record = parse(name).describe_protocol(CRW)
        assert record == {"name": "crw", "ignored": f"{name} does no matching"}
    assert "DIS" in parse("flow").describe()["method"]


def test_the_mix_of_a_run_is_read_where_colours_are_joined(run: Path) -> None:
    def logit(name: str) -> torch.Tensor:
        encoder = build_encoder(parse(name), CRW, "cpu")
        with torch.inference_mode():
            cells = encoder.encode(FRAME)
            (key,), query = encoder.match([cells], cells)
        return torch.einsum("chw,cxy->hwxy", key, query)

    before = logit(f"{run}+lab")
    save_mix(run, Mix())
    assert torch.equal(logit(f"{run}+lab"), before)
    assert "mix" not in parse(f"{run}+lab").describe()
    save_mix(run, Mix(2.0, 80.0))
    assert torch.allclose(logit(f"{run}+lab"), before / 2, atol=0.01)
    assert parse(f"{run}+lab").describe()["mix"] == {"temperature_scale": 2.0, "lab_variance": 80.0}
    assert parse(run).mix == Mix()
    (run / "mix.json").write_text("{}}")
    parse(run)  # features alone need no mix
    with pytest.raises(UserError, match=r"mix\.json"):
        parse(f"{run}+lab")


def test_networks_of_libraries(tmp_path: Path) -> None:
    vit = parse("timm:test_vit", weights="random", seed=5)
    assert vit.describe() == {
        "kind": "timm",
        "name": "test_vit",
        "output": "blocks.5, normalised, stride 16",
        "weights": "random",
        "seed": 5,
    }
    encoder = build_encoder(vit, CRW, "cpu")
    assert isinstance(encoder, BackboneEncoder)
    again, other = (
        build_encoder(parse("timm:test_vit", seed, "random"), CRW, "cpu") for seed in (5, 6)
    )
    with torch.inference_mode():
        assert torch.equal(encoder.encode(FRAME), again.encode(FRAME))
        assert not torch.equal(encoder.encode(FRAME), other.encode(FRAME))
    resnet = parse("torchvision:resnet18+lab", weights="random")
    assert resnet.describe()["output"] == "layer3 at stride 1, stride 8"
    joined = build_encoder(resnet, CRW, "cpu")
    assert joined.stride_px == 8
    with torch.inference_mode():
        assert joined.encode(FRAME).shape == (256 + 3, 4, 6)
    with torch.inference_mode():
        on_patches = build_encoder(parse("timm:test_vit+lab", weights="random"), CRW, "cpu")
        assert on_patches.stride_px == 16
        assert on_patches.encode(FRAME).shape[1:] == (2, 3)
        for each in (encoder, joined, on_patches):
            frames = torch.stack([FRAME, FRAME.flip(-1), FRAME.flip(-2)])
            alone = torch.stack([each.encode(frame) for frame in frames])
            torch.testing.assert_close(each.encode(frames), alone, atol=1e-4, rtol=1e-4)


def test_a_file_of_weights_is_used_and_named(tmp_path: Path) -> None:
    source = build_encoder(parse("torchvision:resnet18", 1, "random"), CRW, "cpu")
    file = tmp_path / "w.safetensors"
    save_file(read_backbone("torchvision", "resnet18", None, False, 1).network.state_dict(), file)
    spec = parse("torchvision:resnet18", 2, str(file))
    assert spec.describe()["weights"] == str(file.resolve())
    with torch.inference_mode():
        assert torch.equal(build_encoder(spec, CRW, "cpu").encode(FRAME), source.encode(FRAME))


def test_weights_that_belong_nowhere_are_refused(run: Path) -> None:
    with pytest.raises(UserError, match="--weights random belongs to torchvision:NAME and timm"):
        parse(run, weights="random")
    with pytest.raises(UserError, match=r"--weights gone\.pth: neither pretrained nor random"):
        parse("torchvision:resnet18", weights="gone.pth")


@pytest.mark.parametrize("name", ["identity+lab", "flow+lab", "lab+lab"])
def test_nothing_is_joined_to_what_has_no_features(name: str) -> None:
    with pytest.raises(UserError, match="nothing to join"):
        parse(name)


def test_what_is_no_model_is_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match="neither identity, flow, lab nor untrained"):
        parse(tmp_path / "gone")
    (run / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        parse(run)
