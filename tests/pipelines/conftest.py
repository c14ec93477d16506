"""A small corpus and the dataset made of it, shared by the tests of preprocessing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from pipelines.codebook import Codebook, CodebookConfig
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from pipelines.footage import Footage
from pipelines.preprocess import preprocess
from pipelines.shard_maker import ShardConfig
from pipelines.storage import fingerprint
from pipelines.video_labeller import LabelJob, LabelledRow, VideoLabeller
from tests.conftest import MakeVideo

SMALL = PreprocessConfig(
    decode=DecodeConfig(size_px=64),
    codebook=CodebookConfig(pixels=2000),
    shards=ShardConfig(videos_per_shard=3),
)


@pytest.fixture(scope="session")
def codebook() -> Codebook:
    """16 centroids on a grid."""
    centroids = tuple((float(a), float(b)) for a in (-45, -15, 15, 45) for b in (-45, -15, 15, 45))
    space = "CIE Lab, D65"
    digest = fingerprint({"space": space, "centroids": centroids})
    return Codebook(space, centroids, 100, 1, 0, 1.0, digest)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    """Six good videos, a corrupt one, an empty one and one of a quarter of a second."""
    folder = tmp_path_factory.mktemp("corpus") / "videos"
    names = ["-a.mp4", "_b.mp4", "c d.mp4", "sub/č.mp4", "e.mp4", "f.mp4"]
    for seed, name in enumerate(names):
        make_video(folder / name, frames=20 + 4 * seed, seed=seed)
    make_video(folder / "short.mp4", frames=3)
    (folder / "corrupt.mp4").write_bytes(b"not a video" * 100)
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture(scope="session")
def small_config() -> PreprocessConfig:
    """64 px frames and three videos a shard, to be quick."""
    return SMALL


@pytest.fixture(scope="session")
def small_dataset(
    ray_session: None,
    small_corpus: Path,
    small_config: PreprocessConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The dataset of `small_corpus`, made by two workers. Tests copy it before they change it."""
    out = tmp_path_factory.mktemp("datasets") / "two workers"
    assert preprocess([str(small_corpus)], out, small_config, workers=2) is not None
    return out


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives are labelled in the test's own process, by the code of a worker, which is quicker."""

    def label_videos(
        job: LabelJob, fresh: Sequence[Footage], finished: Sequence[Footage]
    ) -> Iterator[LabelledRow]:
        worker = VideoLabeller(job)
        torch.set_num_threads(1)
        for footage in (*fresh, *finished):
            video = {"video_id": footage.video_id, "path": str(footage.path)}
            for row in worker({"videos": [video | {"correct": footage in finished}]}):
                yield LabelledRow(**row)

    monkeypatch.setattr("pipelines.archive.label_videos", label_videos)
    monkeypatch.setattr("ray.get_gpu_ids", list)
