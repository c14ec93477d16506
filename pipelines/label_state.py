"""Which label files the videos of an output were made from, so that a rerun sees which ones have changed.

`label_files.json` in the output folder holds, by video, a digest of the names, sizes and times of its label
files (on S3 of their ETags). It is only a hint where to look: the digests of the annotations themselves, in
the metadata of the predictions, decide what is made again.
"""

import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from model.errors import UserError
from pipelines.labels.codec import LabelReader
from pipelines.s3_path import S3Path
from pipelines.storage import Location, fingerprint, read_json, write_json

FILE_NAME = "label_files.json"
_LOOKED_UP_AT_ONCE = 16


def label_states(reader: LabelReader, videos: Iterable[str]) -> dict[str, str]:
    """By video. To be taken before the labels are read."""
    files = {video_id: reader.files(video_id) for video_id in videos}
    distinct = list(dict.fromkeys(file for each in files.values() for file in each))
    with ThreadPoolExecutor(_LOOKED_UP_AT_ONCE) as pool:
        stamps = dict(zip(distinct, pool.map(_stamp, distinct), strict=True))
    return {
        video_id: fingerprint([[file.name, stamps[file]] for file in each])
        for video_id, each in files.items()
    }


def _stamp(file: Location) -> list[int | str]:
    if isinstance(file, S3Path):
        found = file if file.listed is not None else file.looked_up()
        return [found.listed.etag] if found is not None and found.listed is not None else []
    try:
        status = file.stat()
    except FileNotFoundError:  # the worker will say so
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


class LabelStates:
    """What the videos of an output were made from, beside the states that their labels are in `now`."""

    def __init__(self, out: Location, now: Mapping[str, str]) -> None:
        self._path = out / FILE_NAME
        self._now = now
        self._before: dict[str, str] = {}
        with contextlib.suppress(UserError):  # none yet: the labels of all videos are looked at
            self._before = dict(read_json(self._path))

    def changed(self) -> set[str]:
        """Videos whose label files are not those that they were made from, as far as that is known."""
        return {name for name, state in self._now.items() if self._before.get(name) != state}

    def keep(self, videos: Iterable[str]) -> None:
        """Put down that these are made from the labels of now: before they are made, or when it turned
        out that they are."""
        states = {**self._before, **{name: self._now[name] for name in videos if name in self._now}}
        if states != self._before:
            write_json(self._path, {name: states[name] for name in sorted(states)})
            self._before = states
