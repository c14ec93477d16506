"""Embeddings as colours: components of the whole clip, the same for a seed."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from model.colorizer import Colorizer, ColorizerConfig, normalise_grey
from model.errors import UserError
from model.propagation.encoders import ColorizerEncoder, LabEncoder, luma
from model.propagation.protocols import get_protocol
from pipelines.embedding_film import (
    ClipEmbedder,
    colours,
    fit_components,
    write_embedding_film,
)
from pipelines.footage import footage_at
from pipelines.shown_video import ShownVideo
from pipelines.video import read_frames
from tests.conftest import MakeVideo

CRW = get_protocol("crw")


def silent(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> ShownVideo:
    path = make_video(tmp_path_factory.mktemp("clip") / "v.mp4", frames=9, size_hw=(44, 60))
    return ShownVideo(footage_at(path), 256)


def test_the_embedding_is_that_of_the_target_in_the_paper_s_window(clip: ShownVideo) -> None:
    torch.manual_seed(0)
    colorizer = Colorizer(ColorizerConfig(width=4, embedding_channels=8)).eval()
    protocol = get_protocol("vidcolor", ["frame_size_px=none", "temperature=1"])
    embedder = ClipEmbedder(ColorizerEncoder(colorizer, protocol), protocol)
    every = {index: embedding for index, _, _, embedding in embedder.embed(clip)}
    assert sorted(every) == list(range(9))
    some = {index: embedding for index, _, _, embedding in embedder.embed(clip, {1, 7})}
    assert sorted(some) == [1, 7]
    assert all(torch.allclose(some[index], every[index], atol=1e-5) for index in some)

    frames = [np.pad(f, ((0, 4), (0, 4), (0, 0)), mode="edge") for f in clip.frames()]
    window = [torch.from_numpy(frames[i]).permute(2, 0, 1) for i in (4, 5, 6, 7)]
    grey = torch.stack([normalise_grey(luma(frame)) for frame in window])
    with torch.inference_mode():
        expected = colorizer(grey[None])[0, -1]
    assert torch.allclose(every[7], expected, atol=1e-4)


def test_colours_are_the_principal_components_of_the_whole_clip(clip: ShownVideo) -> None:
    embedder = ClipEmbedder(LabEncoder(), CRW)
    made = fit_components(clip, embedder, 0, silent)
    found = list(embedder.embed(clip))
    cells = torch.cat([embedding.flatten(1).T for *_, embedding in found]).numpy()
    exact = PCA(3, svd_solver="full").fit(cells)
    cosines = np.abs((exact.components_ * made.pca.components_).sum(axis=1))
    assert np.all(cosines > 0.999)  # the fifth channel is constant, so three hold nearly all
    assert made.explained == pytest.approx(exact.explained_variance_ratio_.sum(), abs=1e-3)
    _, frame, grid, embedding = found[4]
    picture = colours(embedding, grid, made)
    assert picture.shape == frame.shape == (44, 60, 3)
    scores = made.pca.transform(embedding.flatten(1).T.numpy()).reshape(6, 8, 3)
    inside = (scores > made.low_3) & (scores < made.high_3)
    for part in range(3):  # pixels at the centres of cells, away from the border
        shown = picture[3::8, 3::8, part][1:5, 1:7]
        keep = inside[1:5, 1:7, part]
        assert np.corrcoef(shown[keep], scores[1:5, 1:7, part][keep])[0, 1] > 0.9


def test_the_same_seed_gives_the_same_film_beside_the_video(
    clip: ShownVideo, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_embedding_film(
            clip, ClipEmbedder(LabEncoder(), CRW), tmp_path / f"{name}.mp4", 3, silent
        )
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    film = [frame for _, frame in read_frames(tmp_path / "a.mp4")]
    true = list(clip.frames())
    assert [frame.shape for frame in film] == [(44, 120, 3)] * 9
    assert np.abs(film[5][:, :60].astype(int) - true[5]).mean() < 6
    changes = [np.abs(a[:, 60:].astype(int) - b[:, 60:]).mean() for a, b in pairwise(film)]
    assert min(changes) > 1  # the plane moves, and its embeddings with it


def test_too_few_channels_are_refused(clip: ShownVideo) -> None:
    colorizer = Colorizer(ColorizerConfig(width=4, embedding_channels=2))
    protocol = get_protocol("vidcolor", ["frame_size_px=none"])
    embedder = ClipEmbedder(ColorizerEncoder(colorizer, protocol), protocol)
    with pytest.raises(UserError, match="too few"):
        fit_components(clip, embedder, 0, silent)


def test_pictures_that_change_size_are_named_with_both_sizes(tmp_path: Path) -> None:
    for index, size in enumerate([(60, 44), (60, 44), (70, 44)]):
        Image.new("RGB", size).save(tmp_path / f"{index:05d}.png")
    video = ShownVideo(footage_at(tmp_path), 256)
    told = rf"{tmp_path}: frame 2 is 70x44 px \(width x height\), the first frame 60x44 px"
    with pytest.raises(UserError, match=told):
        fit_components(video, ClipEmbedder(LabEncoder(), CRW), 0, silent)
