import pytest

from model.errors import UserError
from pipelines.clip_rows import BatchConfig, ClipDataset
from pipelines.manifest import load_manifest, save_manifest
from pipelines.shards import marker_path, shard_name
from tests.clip_datasets import FORMAT, write_dataset


@pytest.fixture
def folder(tmp_path):
    return write_dataset(tmp_path)


def test_splits_are_by_video(folder):
    dataset = ClipDataset.open(folder)
    assert dataset.format == FORMAT and dataset.codebook_fingerprint == "book"
    assert dataset.train.shard_G.tolist() == [0, 2] and dataset.val.shard_G.tolist() == [1]
    assert dataset.train.row_C.tolist() == [*range(6), *range(6)]
    assert (len(dataset.train), len(dataset.val)) == (12, 6)


def test_row_groups_of_a_long_shard_are_told_apart(tmp_path):
    dataset = ClipDataset.open(write_dataset(tmp_path, clips_per_video=70))
    assert dataset.train.shard_G.tolist() == [0, 0, 2, 2]
    assert dataset.train.group_G.tolist() == [0, 1, 0, 1]
    assert dataset.train.clips_G.tolist() == [64, 6, 64, 6]


@pytest.mark.parametrize("resolution", [48, 24, 128, 4])
def test_resolutions_that_do_not_divide_are_refused(folder, resolution):
    with pytest.raises(UserError, match="resolution_px"):
        ClipDataset.open(folder).reduction(BatchConfig(resolution_px=resolution))


def test_a_folder_without_finished_shards_is_named(tmp_path):
    with pytest.raises(UserError, match="no finished shard"):
        ClipDataset.open(tmp_path)
    with pytest.raises(UserError, match="no such dataset"):
        ClipDataset.open(tmp_path / "gone")


def lose(shard):
    shard.unlink()


def cut_short(shard):
    shard.write_bytes(shard.read_bytes()[:-100])


def damage_marker(shard):
    marker_path(shard).write_text("{")


@pytest.mark.parametrize("harm", [lose, cut_short, damage_marker])
def test_a_shard_that_is_not_what_its_marker_says_is_named(folder, harm):
    harm(folder / "clips" / shard_name(1))
    with pytest.raises(UserError, match=r"shard-00001.parquet: is missing, or .*preprocess"):
        ClipDataset.open(folder)


def test_a_shard_of_the_right_size_that_is_no_parquet_is_named(folder):
    shard = folder / "clips" / shard_name(1)
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(UserError, match=r"shard-00001.parquet: cannot be read .*validate"):
        ClipDataset.open(folder)


def test_a_shard_of_another_codebook_is_named(folder, tmp_path_factory):
    other = write_dataset(tmp_path_factory.mktemp("other"), codebook="other")
    for suffix in (".parquet", ".json"):
        name = f"clips/shard-00002{suffix}"
        (folder / name).write_bytes((other / name).read_bytes())
    with pytest.raises(UserError, match=r"shard-00002.parquet: was made with codebook other"):
        ClipDataset.open(folder)


def test_clips_of_a_video_that_is_not_in_the_manifest_are_refused(folder):
    videos = load_manifest(folder / "manifest.parquet")
    save_manifest(videos[:2], folder / "manifest.parquet")
    with pytest.raises(UserError, match=r"shard-00002.parquet: .*not in the manifest"):
        ClipDataset.open(folder)
