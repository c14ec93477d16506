"""Preprocessing: manifest -> codebook -> shards, as Ray Data stages on whatever Ray is connected.

Each stage leaves its file in the dataset folder and is skipped on a rerun when that file is there and
was made with the same configuration; shards are skipped one by one. A Ray task makes whole shards, so
pixels never cross the object store and a shard's content does not depend on the number of workers.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

import numpy as np
import pyarrow as pa
import ray

from model.errors import UserError
from pipelines.codebook import (
    Codebook,
    ColourSampler,
    choose_videos,
    fit_codebook,
    load_codebook,
    save_codebook,
)
from pipelines.corpus import Earlier, build_corpus
from pipelines.dataset_folder import (
    ManifestFacts,
    PreprocessConfig,
    PreprocessSummary,
    config_fingerprint,
    refuse_other_configuration,
    remove_dataset,
    remove_leftovers,
    write_summary,
)
from pipelines.fetch import grouped_for_reading
from pipelines.folder_lock import only_run
from pipelines.kinetics import KineticsConfig, count_notes, save_notes
from pipelines.manifest import (
    Manifest,
    compare_manifests,
    load_manifest,
    manifest_fingerprint,
    save_manifest,
)
from pipelines.progress import Progress
from pipelines.ray_rows import groups_as_rows
from pipelines.shard_maker import plan_shards
from pipelines.shard_stage import Shards, make_shards
from pipelines.shards import ERROR_SCHEMA, VideoError
from pipelines.storage import Location, fingerprint, write_table
from pipelines.tar_index import load_indices, save_indices

Stage = Literal["manifest", "codebook", "shards"]


def preprocess(
    sources: Sequence[str],
    out: Location,
    config: PreprocessConfig,
    *,
    workers: int,
    kinetics: KineticsConfig = KineticsConfig(),  # noqa: B008  # frozen
    stage: Stage | None = None,
    overwrite: bool = False,
    retry_errors: bool = False,
    progress: Progress = lambda *_: None,
) -> PreprocessSummary | None:
    """Make (or finish) a dataset. Ray must be connected.

    `retry_errors` makes those shards again of which a video failed. Returns the summary, or None when
    `stage` asked for an earlier stage only. Raises `UserError` for bad sources, for a dataset that was
    made with another configuration or from other videos, and for one that another run is making.
    """
    for folder in (out, *out.parents):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is not a folder")
    with only_run(out):
        return _preprocess(
            sources, out, config, workers, kinetics, stage, overwrite, retry_errors, progress
        )


def _preprocess(
    sources: Sequence[str],
    out: Location,
    config: PreprocessConfig,
    workers: int,
    kinetics: KineticsConfig,
    stage: Stage | None,
    overwrite: bool,
    retry_errors: bool,
    progress: Progress,
) -> PreprocessSummary | None:
    started_s = time.monotonic()
    remove_leftovers(out)
    if overwrite:
        remove_dataset(out)
    refuse_other_configuration(out, config)
    videos, manifest = _manifest_stage(sources, out, config, kinetics, progress)
    write_summary(out, config, manifest)
    if stage == "manifest":
        return None
    codebook = _codebook_stage(videos, out, config, workers, progress)
    if stage == "codebook":
        return None
    wanted = fingerprint([config_fingerprint(config, manifest.fingerprint), codebook.fingerprint])
    folders = (out / "manifest.parquet", out / "clips")
    maker = (config.decode, config.shards, codebook, *folders, wanted)
    plans = plan_shards(videos, config.shards.videos_per_shard)
    shards = make_shards(
        plans, maker, workers=workers, retry_errors=retry_errors, progress=progress
    )
    return _finish(out, config, manifest, codebook, shards, started_s)


def _manifest_stage(
    sources: Sequence[str],
    out: Location,
    config: PreprocessConfig,
    kinetics: KineticsConfig,
    progress: Progress,
) -> tuple[Manifest, ManifestFacts]:
    path = out / "manifest.parquet"
    before = load_manifest(path) if path.exists() or not sources else Manifest.of(())
    digest_before = manifest_fingerprint(before)
    if not sources:
        counts = count_notes(out / "sources.parquet")
        return before, ManifestFacts(digest_before, len(before), counts)
    corpus = build_corpus(
        sources,
        config.corpus,
        config.selection,
        kinetics,
        Earlier(before, load_indices(out / "archives.parquet")),
        watch=lambda done, total: progress("archives", done, total, "archives read"),
    )
    unchanged = corpus.videos == before
    digest = digest_before if unchanged else manifest_fingerprint(corpus.videos)
    if before and digest != digest_before:
        added, removed, changed = compare_manifests(before, corpus.videos)
        raise UserError(
            f"{out}: its manifest lists other videos (added {added}, removed {removed}, changed "
            f"{changed}; fingerprints {digest_before} and {digest}); use --overwrite or another folder"
        )
    if corpus.indices:
        save_indices(corpus.indices, out / "archives.parquet")
    save_notes(corpus.notes, out / "sources.parquet")
    if not unchanged:
        save_manifest(corpus.videos, path)
    progress("manifest", len(corpus.videos), len(corpus.videos), f"{len(corpus.videos)} videos")
    facts = ManifestFacts(digest, len(corpus.videos), count_notes(out / "sources.parquet"))
    pa.default_memory_pool().release_unused()  # what listing took, which Arrow would keep
    return corpus.videos, facts


def _codebook_stage(
    videos: Manifest,
    out: Location,
    config: PreprocessConfig,
    workers: int,
    progress: Progress,
) -> Codebook:
    path = out / "codebook.json"
    if path.exists():
        return load_codebook(path)
    seed = config.corpus.seed
    chosen = choose_videos(videos, config.codebook, seed)
    samples: dict[str, np.ndarray] = {}
    failed: list[VideoError] = []
    groups = grouped_for_reading(chosen, lambda video: video.archive)
    rows = [[asdict(video) for video in group] for group in groups]
    blocks = min(len(groups), 8 * workers)
    in_archives = any(len(group) > 1 for group in groups)
    dataset = groups_as_rows(rows, "videos", blocks=blocks, one_by_one=in_archives).flat_map(
        ColourSampler,
        fn_constructor_args=(
            config.decode,
            config.codebook,
            -(-config.codebook.pixels // len(chosen)),
            seed,
        ),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(groups))),
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


def _write_errors(out: Location, errors: Sequence[VideoError]) -> None:
    rows = [asdict(error) for error in sorted(errors, key=lambda e: e.video_id)]
    write_table(out / "errors.parquet", pa.Table.from_pylist(rows, schema=ERROR_SCHEMA))


def _finish(
    out: Location,
    config: PreprocessConfig,
    manifest: ManifestFacts,
    codebook: Codebook,
    shards: Shards,
    started_s: float,
) -> PreprocessSummary:
    markers, made = shards.markers, shards.made
    errors: list[VideoError] = [row for marker in markers for row in marker.error_rows]
    _write_errors(out, errors)
    return write_summary(
        out,
        config,
        manifest,
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
        frames_per_s=round(sum(marker.frames for marker in made) / max(shards.seconds, 1e-9), 2),
        peak_worker_rss_mb=max((marker.peak_rss_mb for marker in made), default=0),
    )
