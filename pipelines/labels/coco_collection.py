"""One file of YouTube-VIS for many videos, put together from files of one video each.

Workers commit a file a video (`coco_video.write_coco_video`); this comes once, after all of them, and can be
repeated at any time. Annotations are numbered through; who an object is in its video, `track_id` keeps.
Only one video at a time is in memory.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import UserError
from pipelines.labels.coco_video import parse_coco_video
from pipelines.storage import Location, files_in, read_json, write_atomically


def collect_coco_videos(folder: Location, path: Location) -> int:
    """Write `path` with all videos of the files in `folder`; returns how many they are.

    Raises:
        UserError: a file is damaged, or two hold videos of the same name.
    """
    files = [
        file
        for name, file in files_in(folder).items()
        if file.suffix == ".json" and not name.startswith(".")
    ]
    collection = _Collection()

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write('{"annotations": [')
            separator = "\n"
            for file in files:
                for annotation in collection.annotations_of(file):
                    stream.write(separator + json.dumps(annotation, ensure_ascii=False))
                    separator = ",\n"
            rest = {"videos": collection.videos, "categories": collection.categories()}
            stream.write("],\n" + json.dumps(rest, ensure_ascii=False, indent=1)[1:] + "\n")

    write_atomically(path, write)
    return len(collection.videos)


class _Collection:
    """What has been numbered so far."""

    def __init__(self) -> None:
        self.videos: list[dict[str, Any]] = []
        self._names: set[str] = set()
        self._category_ids: dict[str, int] = {}
        self._annotations = 0

    def annotations_of(self, file: Location) -> list[dict[str, Any]]:
        """The annotations of a file with their new numbers. Raises `UserError`."""
        document = read_json(file)
        for video_id in parse_coco_video(file, document):
            if video_id in self._names:
                raise UserError(f"{file}: a video {video_id} is in another file too")
            self._names.add(video_id)
        number_of: dict[int, int] = {}
        for video in document["videos"]:
            number_of[video["id"]] = len(self.videos) + 1
            self.videos.append({**video, "id": len(self.videos) + 1})
        names = {entry["id"]: entry["name"] for entry in document.get("categories", ())}
        return [self._renumbered(each, number_of, names) for each in document["annotations"]]

    def categories(self) -> list[dict[str, Any]]:
        return [{"id": number, "name": name} for name, number in self._category_ids.items()]

    def _renumbered(
        self, annotation: Mapping[str, Any], number_of: Mapping[int, int], names: Mapping[int, str]
    ) -> dict[str, Any]:
        self._annotations += 1
        name = names.get(annotation.get("category_id", -1), "object")
        return {
            **annotation,
            "id": self._annotations,
            "track_id": annotation.get("track_id", annotation["id"]),
            "video_id": number_of[annotation["video_id"]],
            "category_id": self._category_ids.setdefault(name, len(self._category_ids) + 1),
        }
