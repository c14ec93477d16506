"""`masks/meta.json` of a labelled archive: which object is in which frames, for readers of YouTube-VOS.

Predictions say it, so that no mask is decoded again.
"""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.labels.mask_folders import UNNAMED, SeenObject, write_meta
from pipelines.predictions import FOLDER, read_facts
from pipelines.storage import Location, files_in, local_file


def write_vos_meta(out: Location) -> None:
    """Of all videos that are finished; it comes after them, and can be repeated at any time."""
    videos = {}
    for name, path in files_in(out / FOLDER).items():
        if name.endswith(".parquet"):
            with local_file(path) as file:
                videos[name.removesuffix(".parquet")] = _seen(file)
    write_meta(out / "masks", videos)


def _seen(path: Path) -> dict[int, SeenObject]:
    committed = read_facts(path)
    names = {} if committed is None else committed.video.object_names
    with pq.ParquetFile(path) as file:
        rows = file.read(columns=["object_id", "frame", "box_xywh_px"])
    rows = rows.filter(pc.is_valid(rows["box_xywh_px"]))  # else it is not in the frame
    frames: dict[int, list[str]] = {}
    for object_id, frame in zip(
        rows["object_id"].to_pylist(), rows["frame"].to_pylist(), strict=True
    ):
        frames.setdefault(object_id, []).append(frame)
    return {i: SeenObject(names.get(str(i), UNNAMED), seen) for i, seen in frames.items()}
