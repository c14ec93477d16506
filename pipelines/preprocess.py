"""Preprocessing: manifest -> codebook -> shards, as Ray Data stages on whatever Ray is connected.

Each stage leaves its file in the dataset folder and is skipped on a rerun when that file is there and
was made with the same configuration; shards are skipped one by one. One Ray task makes one shard, so
pixels never cross the object store and a shard's content does not depend on the number of workers.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray

from model.errors import UserError
from pipelines.codebook import (
    Codebook,
    choose_videos,
    fit_codebook,
    load_codebook,
    sample_ab,
    save_codebook,
)
from pipelines.corpus import (
    Video,
    build_manifest,
    ensure_both_splits,
    load_manifest,
    manifest_fingerprint,
    save_manifest,
)
from pipelines.dataset_folder import (
    PreprocessConfig,
    PreprocessSummary,
    config_fingerprint,
    refuse_other_configuration,
    remove_dataset,
    remove_leftovers,
    write_summary,
)
from pipelines.decode import DecodeError, Decoder
from pipelines.shard_maker import ShardMaker, ShardPlan, plan_shards
from pipelines.shards import ERROR_SCHEMA, Marker, VideoError, read_marker
from pipelines.storage import fingerprint, write_table

Stage = Literal["manifest", "codebook", "shards"]
Progress = Callable[[str, int, int, str], None]
"""Called with stage, items done, items in all, and a remark."""


def preprocess(
    sources: Sequence[str],
    out: Path,
    config: PreprocessConfig,
    *,
    workers: int,
    stage: Stage | None = None,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> PreprocessSummary | None:
    """Make (or finish) a dataset. Ray must be connected.

    Returns the summary, or None when `stage` asked for an earlier stage only. Raises `UserError` for
    bad sources and for a dataset that was made with another configuration or from other videos.
    """
    started_s = time.monotonic()
    for folder in (out, *out.parents):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is not a folder")
    remove_leftovers(out)
    if overwrite:
        remove_dataset(out)
    refuse_other_configuration(out, config)
    videos = _manifest_stage(sources, out, config, progress)
    write_summary(out, config, videos)
    if stage == "manifest":
        return None
    codebook = _codebook_stage(videos, out, config, workers, progress)
    if stage == "codebook":
        return None
    markers, made, shard_seconds = _shard_stage(videos, codebook, out, config, workers, progress)
    return _finish(out, config, videos, codebook, markers, made, shard_seconds, started_s)


def _manifest_stage(
    sources: Sequence[str], out: Path, config: PreprocessConfig, progress: Progress
) -> list[Video]:
    path = out / "manifest.parquet"
    if not sources:
        return load_manifest(path)
    videos = ensure_both_splits(build_manifest(sources, config.corpus), config.corpus)
    if path.exists():
        before, now = {v.video_id: v for v in load_manifest(path)}, {v.video_id: v for v in videos}
        changed = sum(
            manifest_fingerprint([before[k]]) != manifest_fingerprint([now[k]])
            for k in before.keys() & now.keys()
        )
        added, removed = len(now.keys() - before.keys()), len(before.keys() - now.keys())
        if added or removed or changed:
            raise UserError(
                f"{out}: its manifest lists other videos (added {added}, removed {removed}, "
                f"changed {changed}; fingerprints {manifest_fingerprint(before.values())} and "
                f"{manifest_fingerprint(videos)}); use --overwrite or another folder"
            )
    save_manifest(videos, path)
    progress("manifest", len(videos), len(videos), f"{len(videos)} videos")
    return videos


class _Sampler:
    """Ray Data stage: a video's row -> its sample of colours, or why there is none."""

    def __init__(self, config: PreprocessConfig, per_video: int) -> None:
        self._config = config
        self._per_video = per_video
        self._decoder = Decoder(config.decode)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        video = Video(**row)
        seed = self._config.corpus.seed
        try:
            ab = sample_ab(self._decoder, video, self._config.codebook, self._per_video, seed)
        except DecodeError as error:
            failure = {"kind": error.kind, "message": error.message}
            return {"video_id": video.video_id, "uri": video.uri, "ab": b"", **failure}
        sample = ab.astype("<f4").tobytes()
        return {
            "video_id": video.video_id,
            "uri": video.uri,
            "ab": sample,
            "kind": "",
            "message": "",
        }


def _codebook_stage(
    videos: Sequence[Video],
    out: Path,
    config: PreprocessConfig,
    workers: int,
    progress: Progress,
) -> Codebook:
    path = out / "codebook.json"
    if path.exists():
        return load_codebook(path)
    seed = config.corpus.seed
    chosen = choose_videos(videos, config.codebook, seed)
    if not chosen:
        raise UserError("no video belongs to the training split")
    samples: dict[str, np.ndarray] = {}
    failed: list[VideoError] = []
    dataset = ray.data.from_items(
        [asdict(video) for video in chosen], override_num_blocks=min(len(chosen), 8 * workers)
    ).map(
        _Sampler,  # type: ignore[arg-type]  # Ray takes classes too
        fn_constructor_args=(config, -(-config.codebook.pixels // len(chosen))),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(chosen))),
        num_cpus=1,
    )
    for row in dataset.iter_rows():
        samples[row["video_id"]] = np.frombuffer(row["ab"], dtype="<f4").reshape(-1, 2)
        progress("codebook", len(samples), len(chosen), "videos sampled")
        if row["kind"]:
            failed.append(
                VideoError(row["video_id"], row["uri"], row["kind"], row["message"], attempts=1)
            )
    if len(failed) == len(chosen):  # otherwise the shard stage meets these videos again
        _write_errors(out, failed)
        raise UserError(
            f"{out / 'errors.parquet'}: none of the {len(failed)} sampled videos could be decoded; "
            f"the first is {failed[0].uri} ({failed[0].kind}: {failed[0].message})"
        )
    codebook = fit_codebook(samples, config.codebook.clusters, seed)
    save_codebook(codebook, path)
    return codebook


def _shard_stage(
    videos: Sequence[Video],
    codebook: Codebook,
    out: Path,
    config: PreprocessConfig,
    workers: int,
    progress: Progress,
) -> tuple[list[Marker], list[Marker], float]:
    """All markers, those made now, and the seconds that took."""
    started_s = time.monotonic()
    clips = out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    wanted = fingerprint([config_fingerprint(config, videos), codebook.fingerprint])
    plans = plan_shards(videos, config.shards.videos_per_shard)
    done = {plan.index: _valid_marker(plan, clips, wanted) for plan in plans}
    todo = [plan for plan in plans if done[plan.index] is None]
    made: list[Marker] = []
    if todo:
        maker = (config.decode, config.shards, codebook, str(clips), wanted)
        dataset = ray.data.from_items(
            [asdict(plan) for plan in todo], override_num_blocks=len(todo)
        ).map(
            ShardMaker,  # type: ignore[arg-type]  # Ray takes classes too
            fn_constructor_args=maker,
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(todo)), max_tasks_in_flight_per_actor=2
            ),
            num_cpus=1,
        )
        frames = videos_done = 0
        for row in dataset.iter_rows():
            marker = read_marker(clips / row["shard"])
            if marker is None:
                raise RuntimeError(
                    f"{clips / row['shard']}: committed, but its marker is not valid"
                )
            made.append(marker)
            frames += marker.frames
            videos_done += marker.videos
            rate = frames / max(time.monotonic() - started_s, 1e-9)
            remark = f"{videos_done} videos, {rate:.0f} frames/s"
            progress("shards", len(plans) - len(todo) + len(made), len(plans), remark)
    markers = [_valid_marker(plan, clips, wanted) for plan in plans]
    missing = [plan.index for plan, marker in zip(plans, markers, strict=True) if marker is None]
    if missing:
        raise RuntimeError(f"{len(missing)} shards are missing, the first is {missing[0]}; rerun")
    return [m for m in markers if m is not None], made, time.monotonic() - started_s


def _valid_marker(plan: ShardPlan, clips: Path, wanted: str) -> Marker | None:
    marker = read_marker(clips / plan.name)
    return marker if marker is not None and marker.fingerprint == wanted else None


def _write_errors(out: Path, errors: Sequence[VideoError]) -> None:
    rows = [asdict(error) for error in sorted(errors, key=lambda e: e.video_id)]
    write_table(out / "errors.parquet", pa.Table.from_pylist(rows, schema=ERROR_SCHEMA))


def _finish(
    out: Path,
    config: PreprocessConfig,
    videos: Sequence[Video],
    codebook: Codebook,
    markers: Sequence[Marker],
    made: Sequence[Marker],
    shard_seconds: float,
    started_s: float,
) -> PreprocessSummary:
    errors: list[VideoError] = [row for marker in markers for row in marker.error_rows]
    _write_errors(out, errors)
    return write_summary(
        out,
        config,
        videos,
        state="complete",
        codebook=codebook.fingerprint,
        videos_failed=len(errors),
        errors=dict(sorted(Counter(error.kind for error in errors).items())),
        shards=len(markers),
        clips=sum(marker.rows for marker in markers),
        frames=sum(marker.frames for marker in markers),
        bytes=sum(marker.bytes for marker in markers),
        seconds=round(time.monotonic() - started_s, 3),
        shards_made=len(made),
        frames_per_s=round(sum(marker.frames for marker in made) / max(shard_seconds, 1e-9), 2),
        peak_worker_rss_mb=max((marker.peak_rss_mb for marker in made), default=0),
    )
