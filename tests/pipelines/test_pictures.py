import numpy as np
import torch
from skimage.color import rgb2lab
from sklearn.decomposition import PCA

from model.colorizer import Colorizer, ColorizerConfig
from pipelines.labels.davis import davis_palette
from pipelines.pictures import (
    embedding_sheet,
    overlay,
    painted,
    principal_colours,
    recoloured,
)


def test_overlay_tints_objects_and_leaves_the_rest():
    frame = np.full((20, 20, 3), 100, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 2
    picture = overlay(frame, mask)
    assert (picture[mask == 0] == 100).all()
    assert (picture[5, 5] == davis_palette()[2]).all()
    middle = (100 + davis_palette()[2].astype(int)) / 2
    assert np.abs(picture[10, 10] - middle).max() <= 1


def test_principal_colours_agree_with_scikit_learn_up_to_sign():
    features = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    features[:, 0] *= 5
    features[:, 1] *= 3
    features[:, 2] *= 2
    cells = features.permute(0, 2, 3, 1).reshape(-1, 6).numpy()
    scores = PCA(3).fit_transform(cells)
    colours = principal_colours(features).permute(0, 2, 3, 1).reshape(-1, 3).numpy().astype(float)
    inside = (colours > 0) & (colours < 255)
    for c in range(3):
        keep = inside[:, c]
        assert abs(np.corrcoef(colours[keep, c], scores[keep, c])[0, 1]) > 0.999


def test_a_frame_is_painted_with_other_colours_and_keeps_its_lightness():
    frame = np.random.default_rng(0).integers(90, 160, (8, 8, 3), dtype=np.uint8)
    ab = torch.tensor([20.0, -30.0])[:, None, None].expand(2, 8, 8)
    lab = rgb2lab(painted(frame, ab))
    assert np.abs(lab[..., 0] - rgb2lab(frame)[..., 0]).max() < 1
    assert np.abs(lab[..., 1:] - (20, -30)).max() < 1.5


def test_recoloured_film_keeps_the_truth_beside_and_begins_with_it():
    torch.manual_seed(0)
    colorizer = Colorizer(ColorizerConfig(width=4, embedding_channels=8)).eval()
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(3)]
    pictures = list(recoloured(iter(frames), colorizer, side_px=64))
    assert [p.shape for p in pictures] == [(64, 128, 3)] * 3
    assert (pictures[0][:, :64] == pictures[0][:, 64:]).all()
    assert (pictures[1][:, :64] != pictures[1][:, 64:]).any()


def test_embedding_sheet_shows_frames_above_colours():
    colorizer = Colorizer(ColorizerConfig(width=4, embedding_channels=8)).eval()
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(8)]
    sheet = embedding_sheet(iter(frames), colorizer, side_px=64, columns=4)
    assert sheet.shape == (128, 256, 3)
    assert (sheet[:64, :64] == frames[0]).all()
