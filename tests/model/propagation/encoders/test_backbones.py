"""Networks of torchvision and timm, with random weights, on tiny frames."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file

from model.errors import UserError
from model.propagation.encoders.backbone import Backbone, BackboneEncoder
from model.propagation.encoders.timm_backbone import load_timm
from model.propagation.encoders.torchvision_resnet import load_resnet
from model.propagation.grid import CellGrid
from model.propagation.protocols import get_protocol

CRW = get_protocol("crw")
VIT, CONVNET = "test_vit", "test_resnet"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def frame(size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)


def normalised(rgb: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return torchvision.transforms.functional.normalize(rgb.float() / 255, mean, std)[None]


def encoded(backbone: Backbone, rgb: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return BackboneEncoder(backbone, CRW).encode(rgb)


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    torch.manual_seed(1)
    return load_resnet("resnet18", "random")


@pytest.fixture(scope="module")
def vit() -> Backbone:
    torch.manual_seed(2)
    return load_timm(VIT, "random")


@torch.inference_mode()
def test_resnet_features_lie_on_those_of_the_unchanged_network(resnet: Backbone) -> None:
    """Without the stride, every second cell of the first block's output is what it was with it."""
    assert (resnet.stride_px, resnet.channels, resnet.layer) == (8, 256, "layer3 at stride 1")
    assert (resnet.mean_rgb, resnet.std_rgb) == IMAGENET
    torch.manual_seed(1)
    whole = torchvision.models.resnet18().eval()
    rgb = frame((48, 64))
    x = normalised(rgb, *IMAGENET)
    for part in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"):
        x = getattr(whole, part)(x)
    block = whole.layer3[0]
    ours = resnet.network.layer3[0](x)
    expected = block(x)
    # conv1 is sampled at every second cell, conv2 then sees other neighbours: only its centre agrees.
    assert torch.allclose(
        resnet.network.layer3[0].conv1(x)[..., ::2, ::2], block.conv1(x), atol=1e-5
    )
    assert torch.allclose(
        resnet.network.layer3[0].downsample(x)[..., ::2, ::2], block.downsample(x)
    )
    assert ours.shape[2:] == (6, 8) and expected.shape[2:] == (3, 4)
    assert torch.equal(encoded(resnet, rgb), resnet.network.layer3(x)[0])


@torch.inference_mode()
def test_bottlenecks_lose_their_stride_too() -> None:
    backbone = load_resnet("resnet50", "random")
    assert backbone.channels == 1024
    assert encoded(backbone, frame((16, 24))).shape == (1024, 2, 3)


@torch.inference_mode()
def test_patch_tokens_are_those_of_timm_at_a_size_that_needs_no_padding(vit: Backbone) -> None:
    torch.manual_seed(2)
    theirs = timm.create_model(VIT, num_classes=0, dynamic_img_size=True).eval()
    config = timm.data.resolve_model_data_config(theirs)
    rgb = frame((48, 80))
    tokens = theirs.forward_features(normalised(rgb, config["mean"], config["std"]))
    patches = tokens[0, theirs.num_prefix_tokens :]
    assert vit.stride_px == 16
    expected = patches.T.reshape(vit.channels, 3, 5)
    assert torch.allclose(encoded(vit, rgb), expected, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(31, 47), (33, 17), (16, 16)])
def test_frames_that_do_not_fit_the_patch_are_padded_and_never_cropped(
    vit: Backbone, size: tuple[int, int]
) -> None:
    rgb = frame(size)
    encoder = BackboneEncoder(vit, CRW)
    grid = CellGrid(size, encoder.stride_px)
    given = grid.encoder_input(rgb.permute(1, 2, 0).numpy(), torch.device("cpu"))
    height, width = size
    rows, columns = -(-height // 16), -(-width // 16)
    padding = (0, columns * 16 - width, 0, rows * 16 - height)
    padded = F.pad(rgb.float()[None], padding, mode="replicate")[0].to(torch.uint8)
    assert torch.equal(given, padded)
    features = encoder.encode(given)
    assert features.shape[1:] == grid.size_cells == (rows, columns)
    changed = given.clone()
    changed[:, height - 1 :, width - 1 :] ^= 255  # the last pixel of the frame counts
    assert not torch.allclose(encoder.encode(changed)[:, -1, -1], features[:, -1, -1])


@torch.inference_mode()
def test_a_convolutional_network_gives_timms_own_features_at_stride_8() -> None:
    torch.manual_seed(3)
    backbone = load_timm(CONVNET, "random")
    weights = {"state_dict": backbone.network.model.state_dict()}
    theirs = timm.create_model(
        CONVNET,
        pretrained=True,
        pretrained_cfg_overlay=weights,
        features_only=True,
        out_indices=(2,),
    ).eval()
    assert theirs.feature_info.reduction() == [8]
    assert (backbone.stride_px, backbone.layer) == (8, theirs.feature_info.module_name()[0])
    assert backbone.channels == theirs.feature_info.channels()[0]
    rgb = frame((40, 24))
    (expected,) = theirs(normalised(rgb, backbone.mean_rgb, backbone.std_rgb))
    assert torch.allclose(encoded(backbone, rgb), expected[0], atol=1e-5)


def test_logits_are_cosines_over_the_protocols_temperature(vit: Backbone) -> None:
    encoder = BackboneEncoder(vit, CRW)
    with torch.inference_mode():
        a, b = encoder.encode(frame((32, 32), 1)), encoder.encode(frame((32, 32), 2))
        (key,), query = encoder.match([a], b)
    cosine = F.cosine_similarity(a[:, 1, 0], b[:, 0, 1], dim=0)
    assert torch.allclose(key[:, 1, 0] @ query[:, 0, 1], cosine / 0.05, atol=1e-3)


def test_half_precision_changes_nothing_on_a_cpu(resnet: Backbone) -> None:
    rgb = frame((16, 16))
    with torch.inference_mode():
        half = BackboneEncoder(resnet, CRW, half=True).encode(rgb)
    assert torch.equal(half, encoded(resnet, rgb))
    assert half.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_smal_patch16_224", "nearest are.*vit_small_patch16_224"),
        ("mixer_s32_224", r"no output at stride 8 or 16 \(it has \[32\]\)"),
        ("mixer_s16_224", "does not take frames of any size"),
    ],
)
def test_what_timm_cannot_give_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_timm(name, "random")


def test_a_network_that_is_no_resnet_is_refused() -> None:
    with pytest.raises(UserError, match=r"vgg11: no such ResNet; there are: .*resnet18"):
        load_resnet("vgg11", "random")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Empty caches and a hub that refuses; returns the cache of Hugging Face."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return tmp_path / "hub"


def test_pretrained_weights_without_a_network_are_one_line_with_the_remedy(
    no_network: Path,
) -> None:
    with pytest.raises(UserError, match=r"cannot be had .*timm/vit_tiny.*--weights"):
        load_timm("vit_tiny_patch16_224", "pretrained")
    with pytest.raises(UserError, match=r"cannot be had .*resnet18-.*\.pth elsewhere.*--weights"):
        load_resnet("resnet18", "pretrained")


def test_pretrained_weights_in_the_cache_need_no_network(no_network: Path) -> None:
    config = timm.models.get_pretrained_cfg(CONVNET)
    folder = no_network / ("models--" + config.hf_hub_id.replace("/", "--"))
    snapshot = folder / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    torch.manual_seed(4)
    theirs = timm.create_model(CONVNET)
    save_file(theirs.state_dict(), snapshot / "model.safetensors")
    loaded = load_timm(CONVNET, "pretrained").network.model.state_dict()
    expected = theirs.state_dict()
    assert loaded and all(torch.equal(value, expected[key]) for key, value in loaded.items())
