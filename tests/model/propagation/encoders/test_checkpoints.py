"""Files of weights that others wrote."""

import argparse
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from model.errors import UserError
from model.propagation.encoders.checkpoints import read_checkpoint
from model.propagation.encoders.timm_backbone import load_timm
from model.propagation.encoders.torchvision_resnet import load_resnet

Tensors = dict[str, torch.Tensor]


def openmmlab(key: str) -> str:
    """The name that ConvModule gives a weight of torchvision's ResNet."""
    key = re.sub(r"\bconv(\d)\.", r"conv\1.conv.", key)
    key = re.sub(r"\bbn(\d)\.", r"conv\1.bn.", key)
    return key.replace("downsample.0.", "downsample.conv.").replace(
        "downsample.1.", "downsample.bn."
    )


def padded(key: str) -> str:
    return re.sub(r"\bconv([12])\.weight", r"conv\1.1.weight", key)


def under(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


@pytest.fixture(scope="module")
def theirs() -> Tensors:
    torch.manual_seed(5)
    return torchvision.models.resnet18().state_dict()


def is_loaded(path: Path, theirs: Tensors) -> bool:
    ours = load_resnet("resnet18", path).network.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_plain_files_of_both_kinds(tmp_path: Path, theirs: Tensors) -> None:
    save_file(theirs, tmp_path / "w.safetensors")
    torch.save(theirs, tmp_path / "w.pth")
    assert is_loaded(tmp_path / "w.safetensors", theirs)
    assert is_loaded(tmp_path / "w.pth", theirs)


@pytest.mark.parametrize("rename", [openmmlab, padded])
def test_whole_training_checkpoints_with_prefixes_heads_and_other_names(
    tmp_path: Path, theirs: Tensors, rename
) -> None:
    renamed = {rename(key): value for key, value in theirs.items() if not key.startswith("fc.")}
    assert renamed.keys() != theirs.keys()
    whole = under("encoder.", renamed) | {"selfsim_fc.0.weight": torch.zeros(3)}
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": whole, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, path)
    assert is_loaded(path, theirs)


def test_missing_unknown_and_misshapen_weights_are_named(tmp_path: Path, theirs: Tensors) -> None:
    broken = dict(theirs)
    broken["layer3.1.extra"] = broken.pop("layer3.1.conv2.weight")
    broken["bn1.weight"] = torch.ones(5)
    save_file(broken, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as refusal:
        load_resnet("resnet18", tmp_path / "w.safetensors")
    text = str(refusal.value)
    for part in ("w.safetensors", "missing: layer3.1.conv2.weight", "unknown: layer3.1.extra"):
        assert part in text
    assert "of another shape: bn1.weight" in text
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"missing: conv1\.weight.* and \d+ more; unknown: a"):
        load_resnet("resnet18", tmp_path / "w.safetensors")


def test_two_networks_in_one_file_are_not_guessed_at(tmp_path: Path, theirs: Tensors) -> None:
    torch.save(under("a.", theirs) | under("b.", theirs), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"several networks \(a\., b\.\)"):
        load_resnet("resnet18", tmp_path / "w.pth")


def test_what_cannot_be_read_safely_is_refused(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(UserError, match=re.escape(str(path))) as error:
            read_checkpoint(path)
        assert "\n" not in str(error.value)
        return str(error.value)

    path = tmp_path / "w.pth"
    assert "no such file" in refusal(path)
    torch.save({"net": Path("/")}, path)  # an object of a class that is not on the list
    assert "safely" in refusal(path)
    path.write_bytes(b"")
    assert "safely" in refusal(path)
    path.write_bytes(b"\x00" * 8 + b"{no json")
    assert "safely" in refusal(path)
    torch.save({"epoch": 3}, path)
    assert "holds no weights" in refusal(path)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_timm_models_take_files_too(tmp_path: Path, name: str) -> None:
    torch.manual_seed(6)
    tensors = timm.create_model(name).state_dict()
    path = tmp_path / "w.safetensors"
    save_file(under("module.", tensors), path)
    loaded = load_timm(name, path).network.model.state_dict()
    assert loaded and all(torch.equal(value, tensors[key]) for key, value in loaded.items())
    gone = next(key for key in tensors if key.endswith("weight") and "head" not in key)
    save_file({key: value for key, value in tensors.items() if key != gone}, path)
    with pytest.raises(UserError, match=rf"missing: {re.escape(gone)}"):
        load_timm(name, path)
