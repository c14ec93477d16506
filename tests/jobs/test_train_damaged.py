"""Datasets that cannot be trained on: one line that names the shard, and the exit status 2."""

import numpy as np
import pytest

from jobs.cli import run
from pipelines.codebook import Codebook, save_codebook
from pipelines.shards import Clip, ShardWriter, clip_schema, shard_name
from pipelines.storage import fingerprint
from tests.clip_datasets import FORMAT, commit, jpeg, write_dataset


def codebook(step):
    centroids = tuple((float(step * i), float(-step * i)) for i in range(16))
    space = "CIE Lab, D65"
    return Codebook(
        space, centroids, 1, 1, 0, 0.0, fingerprint({"space": space, "centroids": centroids})
    )


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "dataset").mkdir()
    save_codebook(codebook(1), tmp_path / "dataset" / "codebook.json")
    return write_dataset(tmp_path / "dataset", codebook=codebook(1).fingerprint)


def complaint(dataset, capsys):
    """What a tiny training on the dataset says when it fails."""
    settings = {
        "model.width": 4,
        "model.embedding-channels": 8,
        "batches.batch-size": 4,
        "batches.resolution-px": 64,
        "fit.steps": 8,
        "probe.every": 0,
    }
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    status = run(["train", str(dataset), "--run", str(dataset.parent / "run"), *flags])
    message = capsys.readouterr().err.strip().splitlines()
    assert status == 2, message
    return message[-1]


def test_a_missing_shard_is_named_before_anything_starts(dataset, capsys):
    (dataset / "clips" / shard_name(1)).unlink()
    line = complaint(dataset, capsys)
    assert line.startswith(f"huetrack: {dataset}/clips/shard-00001.parquet: is missing")
    assert not (dataset.parent / "run").exists()


def test_a_codebook_that_is_not_that_of_the_shards_is_told(dataset, capsys):
    save_codebook(codebook(2), dataset / "codebook.json")
    line = complaint(dataset, capsys)
    assert codebook(1).fingerprint in line and codebook(2).fingerprint in line


def test_a_frame_that_is_no_jpeg_ends_the_training_and_is_named(dataset, capsys, ray_session):
    shard = dataset / "clips" / shard_name(2)
    writer = ShardWriter(shard, clip_schema(FORMAT, codebook(1).fingerprint))
    good = jpeg(np.zeros((64, 64), np.uint8))
    frames = [good, good, b"damaged", good]
    writer.add(Clip("c/0", "c", [0.0], frames, bytes(FORMAT.target_bytes)))
    writer.close()
    commit(shard, 1)
    line = complaint(dataset, capsys)
    assert f"{shard}: cannot be read (frame 2 of clip 'c/0' is not a JPEG" in line
    assert "huetrack validate" in line
