"""`--model`: what the names stand for, and what is refused."""

from pathlib import Path

import pytest
import torch

from model.colorizer import Colorizer, ColorizerConfig, save_colorizer
from model.errors import UserError
from model.propagation.encoders import ColorizerEncoder, JoinedEncoder, LabEncoder
from model.propagation.engine import IdentityPropagator, Propagator
from model.propagation.protocols import get_protocol
from pipelines.flow import FlowPropagator
from pipelines.models import ModelSpec, build_encoder, build_propagator, parse_model

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


def parse(name: object, seed: int = 0) -> ModelSpec:
    return parse_model(str(name), untrained_width=4, seed=seed)


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
