"""A corpus of damaged videos: nothing crashes, nothing is lost, good videos are as ever."""

from pathlib import Path

from benchmarks.fuzz import fuzz
from benchmarks.mutations import MUTATIONS, boxes
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from tests.conftest import MakeVideo


def test_every_kind_of_damage(ray_session: None, tmp_path: Path, make_video: MakeVideo) -> None:
    sources = [make_video(tmp_path / f"source/{i}.mp4", frames=30, seed=i) for i in range(3)]
    good = [make_video(tmp_path / f"good/{i}.mp4", frames=24, seed=10 + i) for i in range(4)]
    kinds = {box.kind for box in boxes(sources[0].read_bytes())}
    assert {b"ftyp", b"moov", b"trak", b"stsz", b"mdat"} <= kinds
    config = PreprocessConfig(decode=DecodeConfig(size_px=64, deadline_s=20))
    files = 8 * len(MUTATIONS)
    result = fuzz(sources, good, files, tmp_path / "work", config)
    assert result.damaged > files + 20  # those, and a cut at every box's border
    assert (result.unaccounted, result.changed) == ([], [])
    assert result.decoded + sum(result.failed.values()) == result.damaged
    assert result.decoded > 0
    assert {"unreadable", "empty"} <= set(result.failed)
