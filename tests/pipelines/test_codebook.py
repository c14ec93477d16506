"""The codebook against scikit-learn's k-means, and its file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans

from model.errors import UserError
from pipelines.codebook import (
    CodebookConfig,
    choose_videos,
    fit_codebook,
    load_codebook,
    sample_ab,
    save_codebook,
)
from pipelines.decode import DecodeConfig, DecodeError, Decoder
from pipelines.manifest import Video
from tests.conftest import MakeVideo


def samples() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {
        f"video {i}": random.normal(random.uniform(-40, 40, 2), 9, (150, 2)).astype(np.float32)
        for i in range(8)
    }


def videos(count: int) -> list[Video]:
    return [Video(f"v{i}", f"/v{i}.mp4", 1, "e", None, "train") for i in range(count)]


def test_centroids_are_those_of_k_means_on_the_whole_sample() -> None:
    ab = samples()
    codebook = fit_codebook(ab, 16, seed=5)
    whole = np.concatenate([ab[name] for name in sorted(ab)]).astype(np.float64)
    kmeans = KMeans(16, n_init=4, random_state=5).fit(whole)
    expected = kmeans.cluster_centers_[np.lexsort(kmeans.cluster_centers_.T[::-1])]
    assert np.abs(codebook.centroids_K2 - expected).max() < 1e-3
    assert codebook.inertia == pytest.approx(kmeans.inertia_, rel=1e-4)
    assert (codebook.pixels, codebook.videos, codebook.seed) == (1200, 8, 5)
    assert codebook.centroids == tuple(sorted(codebook.centroids))


def test_the_order_in_which_videos_arrive_does_not_matter() -> None:
    ab = samples()
    codebook = fit_codebook(ab, 16, seed=5)
    assert fit_codebook(dict(reversed(ab.items())), 16, seed=5) == codebook
    empty = np.zeros((0, 2), np.float32)
    assert fit_codebook({**ab, "unreadable": empty}, 16, seed=5) == codebook
    assert fit_codebook(ab, 16, seed=6).fingerprint != codebook.fingerprint


def test_too_few_colours_are_refused() -> None:
    grey = {"grey": np.zeros((500, 2), np.float32)}
    with pytest.raises(UserError, match="fewer than 16 colours"):
        fit_codebook(grey, 16, seed=0)
    for nothing in ({}, {"unreadable": np.zeros((0, 2), np.float32)}):
        with pytest.raises(UserError, match="no video could be decoded"):
            fit_codebook(nothing, 16, seed=0)


def test_the_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "codebook.json"
    codebook = fit_codebook(samples(), 16, seed=5)
    save_codebook(codebook, path)
    assert load_codebook(path) == codebook
    good = json.loads(path.read_text())
    assert good["space"] == "CIE Lab, D65"
    assert np.array(good["centroids"]).shape == (16, 2)
    moved = [[a + 0.5, b] for a, b in good["centroids"]]
    for change, cause in (
        ({"centroids": moved}, "fingerprint"),
        ({"fingerprint": "0" * 16}, "fingerprint"),
        ({"centroids": [1, 2]}, "not a codebook"),
        ({"surplus": 1}, "not a codebook"),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(UserError, match=rf"codebook\.json: .*{cause}"):
            load_codebook(path)
    for text, cause in (("[]", "not a codebook"), ("{", "not JSON"), ("{}", "not a codebook")):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"codebook\.json: {cause}"):
            load_codebook(path)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        load_codebook(path)


def test_the_choice_of_videos_does_not_depend_on_their_order() -> None:
    config = CodebookConfig(videos=5)
    chosen = choose_videos(videos(40), config, seed=1)
    assert len({video.video_id for video in chosen}) == 5
    assert choose_videos(videos(40)[::-1], config, seed=1) == chosen[::-1]
    assert choose_videos(videos(40), config, seed=2) != chosen
    names = [video.video_id for video in videos(40)]
    assert names.index(chosen[0].video_id) < names.index(chosen[1].video_id)  # as they are read
    assert choose_videos(videos(3), config, seed=1) == videos(3)


def test_only_training_videos_that_can_be_read_are_sampled_where_there_are_any() -> None:
    config = CodebookConfig()
    train, other = videos(2)
    held_out = replace(other, split="val")
    refused = replace(train, video_id="r", refused_kind="unsafe_member")
    assert choose_videos([train, held_out, refused], config, seed=1) == [train]
    assert choose_videos([held_out, refused], config, seed=1) == [held_out]
    assert choose_videos([refused], config, seed=1) == [refused]


def test_sampled_colours_depend_on_the_video_alone(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4")
    (video,) = videos(1)
    video = replace(video, uri=str(path))
    config = CodebookConfig(frames_per_video=2)
    with Decoder(DecodeConfig(size_px=64)) as decoder:
        first = sample_ab(decoder, video, path, config, 50, seed=0)
        assert first.shape == (50, 2)
        assert (first == sample_ab(decoder, video, path, config, 50, seed=0)).all()
        assert not np.array_equal(first, sample_ab(decoder, video, path, config, 50, seed=1))
        assert len(sample_ab(decoder, video, path, config, 10_000, seed=0)) == 2 * 8 * 8
        gone = replace(video, uri=str(tmp_path / "gone.mp4"))
        with pytest.raises(DecodeError):
            sample_ab(decoder, gone, Path(gone.uri), config, 50, seed=0)


@pytest.mark.parametrize(
    "settings", [{"clusters": 1}, {"clusters": 257}, {"videos": 0}, {"pixels": 0}]
)
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        CodebookConfig(**settings)
