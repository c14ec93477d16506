"""What `--overwrite` must not cost: files that the run is to read, and corrections that are nowhere else."""

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from model.errors import UserError
from pipelines.anchors import digest
from pipelines.archive_plan import LabelSource, anchor_places
from pipelines.footage import Footage
from pipelines.labels.codec import LabelReader
from pipelines.predictions import CommittedPredictions, read_facts
from pipelines.propagation_folder import REMOVED, finished_videos, predictions_of
from pipelines.storage import Location

_READ_AT_ONCE = 16


def refuse_to_remove(out: Location, inputs: Sequence[Location]) -> None:
    """Raise `UserError` for an input that is the output folder, or lies in what an overwrite removes."""
    for place in inputs:
        if place.resolve() == out.resolve():
            raise UserError(
                f"{place}: is read, and --overwrite would remove it; name another --out"
            )
        for name in REMOVED:
            if f"{place.resolve()}/".startswith(f"{(out / name).resolve()}/"):
                raise UserError(
                    f"{place}: is read, and --overwrite would remove {out / name}; "
                    "name another --out, or copy it elsewhere first"
                )


def corrections_at_stake(
    out: Location,
    videos: Sequence[Footage],
    labels: LabelSource,
    corrections: LabelSource | None,
) -> str:
    """What people corrected in an output that neither of the two gives, in words; empty for nothing."""
    footage = {item.video_id: item for item in videos}
    readers = [(labels.open(), True)]
    if corrections is not None:
        readers.append((corrections.open(), False))
    named = [(reader, frozenset(reader.videos()), exact) for reader, exact in readers]

    def facts_of(video_id: str) -> CommittedPredictions | None:
        with contextlib.suppress(UserError):  # of a damaged file nothing can be kept
            return read_facts(predictions_of(out, video_id))
        return None

    finished = sorted(finished_videos(out))
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        found: Mapping[str, CommittedPredictions | None] = dict(
            zip(finished, pool.map(facts_of, finished), strict=True)
        )
    lost = []
    for video_id, facts in found.items():
        left = set(facts.corrections) if facts is not None else set()
        for reader, known, exact in named:
            if facts is not None and left and video_id in footage and video_id in known:
                left -= _given(reader, footage[video_id], facts.anchors if exact else None)
        lost.append(len(left))
    frames, of = sum(lost), sum(map(bool, lost))
    return f"corrections of {frames} frames of {of} videos" if frames else ""


def _given(reader: LabelReader, footage: Footage, digests: Mapping[int, str] | None) -> set[int]:
    """Frames of a video that are annotated there; with `digests` those whose annotation has that digest."""
    video_id = footage.video_id
    with contextlib.suppress(UserError):  # what cannot be read gives nothing
        return {
            index
            for index, frame in anchor_places(footage, reader.frames(video_id))
            if digests is None
            or (index in digests and digest(reader.read(video_id, frame)) == digests[index])
        }
    return set()
