"""What becomes of bad input in `propagate`: a row of errors.parquet, or what docs/propagation.md says."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from model.colorizer import ColorizerConfig
from model.propagation.protocols import get_protocol
from pipelines.archive import ArchiveConfig, propagate_archive
from pipelines.labels.davis import read_mask, write_mask
from pipelines.labels.formats import open_labels
from pipelines.models import ModelSpec
from pipelines.video import write_h264

LAB = ModelSpec("lab", False, None, ColorizerConfig(), 0)
CELLS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)


def picture(height: int = 32, width: int = 40) -> np.ndarray:
    return cv2.resize(CELLS.repeat(8, axis=0).repeat(8, axis=1), (width, height))


def mask(*ids: int) -> np.ndarray:
    """Objects side by side, eight pixels wide."""
    ids_HW = np.zeros((32, 40), np.uint8)
    for place, label in enumerate(ids):
        ids_HW[8:24, 8 + 16 * place : 16 + 16 * place] = label
    return ids_HW


def folder(place: Path, sizes: list[tuple[int, int]]) -> None:
    place.mkdir(parents=True)
    for index, size in enumerate(sizes):
        cv2.imwrite(str(place / f"{index:05d}.png"), picture(*size)[..., ::-1])


def run(place: Path, labels: str) -> dict[str, tuple[str, str]]:
    """Kind and message of every video that failed."""
    config = ArchiveConfig(LAB, get_protocol("crw"), overlays=False, anchors="all")
    propagate_archive(place / "archive", place / labels, place / "out", config, workers=1)
    rows = pq.read_table(place / "out" / "errors.parquet").to_pylist()
    return {row["video_id"]: (row["kind"], row["message"]) for row in rows}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder(tmp_path / "archive" / "single", [(32, 40)])
    folder(tmp_path / "archive" / "vanishing", [(32, 40)] * 4)
    return tmp_path


def test_videos_and_masks(place: Path, ray_session: None) -> None:
    archive, labels = place / "archive", place / "labels"
    folder(archive / "resized", [(32, 40), (32, 40), (32, 48), (32, 40)])
    folder(archive / "empty", [(32, 40)] * 2)
    (archive / "nothing").mkdir()
    (archive / "no_bytes.mp4").touch()
    write_h264(archive / "film.mp4", [picture()] * 3, 12, crf=5)
    whole = (archive / "film.mp4").read_bytes()
    (archive / "header.mp4").write_bytes(whole[:40])
    for name in ("resized", "single", "film", "header", "no_bytes", "nothing", "gone"):
        write_mask(labels / name / "00000.png", mask(1, 2))
    write_mask(labels / "empty" / "00000.png", mask())
    write_mask(labels / "vanishing" / "00000.png", mask(1, 2))
    write_mask(labels / "vanishing" / "00002.png", mask(1))

    failed = run(place, "labels")

    assert {name: kind for name, (kind, _) in failed.items()} == {
        "empty": "unusable",
        "gone": "no_video",
        "header": "unreadable",
        "no_bytes": "unreadable",
        "nothing": "no_video",
        "resized": "unusable",
    }
    assert "the first mask has no object" in failed["empty"][1]
    assert "frame 2 is 48x32 px (width x height), the first frame 40x32" in failed["resized"][1]
    assert "no_bytes.mp4" in failed["no_bytes"][1]
    found = {
        video.name: [sorted(set(read_mask(file).flat)) for file in sorted(video.iterdir())]
        for video in (place / "out" / "masks").iterdir()
        if not video.name.startswith(".")
    }
    assert found == {
        "film": [[0, 1, 2]] * 3,
        "single": [[0, 1, 2]],
        "vanishing": [[0, 1, 2]] * 2 + [[0, 1]] * 2,
    }


def test_points_outside_the_image_are_hidden_from_the_next_frame_on(
    place: Path, ray_session: None
) -> None:
    rows = ["video_id,point_id,frame,x_px,y_px,visible"]
    rows += ["vanishing,1,0,20,20,1", "vanishing,2,0,500,20,1", "single,2,0,-60,4,1"]
    (place / "points.csv").write_text("\n".join(rows) + "\n")
    assert run(place, "points.csv") == {}
    reader = open_labels(place / "out" / "labels")
    seen = {
        name: [
            dict(zip(each.ids, np.isfinite(each.xy_px_N2).all(1).tolist(), strict=True))
            for each in (reader.read(name, frame) for frame in reader.frames(name))
        ]
        for name in ("single", "vanishing")
    }
    assert seen == {
        "single": [{2: True}],
        "vanishing": [{1: True, 2: True}] + [{1: True, 2: False}] * 3,
    }
