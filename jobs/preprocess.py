"""`huetrack preprocess` and `huetrack validate`."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.cluster import available_cpus, connected_ray
from jobs.console import ProgressDisplay, print_facts
from jobs.metrics import WorkFigures
from jobs.options import LocationOption
from jobs.placement import LabelSelectorOption, label_selector
from jobs.plan import plan
from jobs.preprocess_tracking import TrackedPreprocess
from jobs.tracking_uri import TrackingUriOption
from model.errors import UserError
from pipelines.codebook import CodebookConfig
from pipelines.corpus import CorpusConfig, Selection, build_corpus
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from pipelines.kinetics import KineticsConfig
from pipelines.manifest import Manifest, load_manifest
from pipelines.places import PlaceText
from pipelines.preprocess import preprocess
from pipelines.progress import Remark
from pipelines.shard_maker import ShardConfig
from pipelines.validate import validate_dataset


@dataclass(frozen=True)
class PreprocessOptions:
    """Options of `huetrack preprocess`."""

    sources: Annotated[tuple[PlaceText, ...], Parameter(negative="")] = ()
    """Folders, s3:// prefixes, globs, video files, tar archives (.tar, .tar.gz, .tgz; read without
    unpacking), or CSV, TSV or Parquet lists of videos (column uri)."""
    _: KW_ONLY
    out: LocationOption
    """Dataset folder to make or to finish, local or s3://BUCKET/PREFIX."""
    stage: Literal["manifest", "codebook", "shards"] | None = None
    """Stop after this stage (earlier ones run first where their file is missing)."""
    workers: int = field(default_factory=available_cpus)
    """Decoding workers; the dataset does not depend on their number."""
    label_selector: LabelSelectorOption = ()
    """KEY=VALUE: workers run on the nodes of a cluster that are labelled so; VALUE may be !A or in(A,B)."""
    overwrite: bool = False
    """Remove a dataset that was made with another configuration."""
    retry_errors: bool = False
    """Make those shards again of which a video failed, with other limits or better storage perhaps."""
    max_error_rate: float = 0.1
    """Share of failed videos above which the exit status is 1."""
    limit: int | None = None
    """Take so many videos."""
    split: Literal["train", "val"] | None = None
    """Take the videos of one split."""
    shuffle_seed: int | None = None
    """Take and store the videos in a random order, not in that of their ids."""
    kinetics: KineticsConfig = field(default_factory=KineticsConfig)
    tracking_uri: TrackingUriOption | None = None
    """MLflow server, or sqlite:///FILE; by default MLFLOW_TRACKING_URI, and no tracking without it."""
    experiment: str = "huetrack-preprocess"
    """MLflow experiment."""
    plan: bool = False
    """Measure a sample and print the expected hours, bytes and memory; --out stays as it is."""
    cores: int | None = None
    """With --plan: cores to plan for, by default the workers of this machine."""
    videos: int | None = None
    """With --plan: videos to measure, by default 20, or four a worker where that is more."""
    json: Path | None = None
    """With --plan: file for the figures."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    shards: ShardConfig = field(default_factory=ShardConfig)


def preprocess_command(options: Annotated[PreprocessOptions, Parameter(name="*")]) -> int:
    """Make a training set: manifest, colour codebook and shards of clips.

    Videos are sampled at 6 frames/s by timestamp, resized to 256x256, cut into clips of four frames
    and stored as Parquet with one-hot colour targets. A rerun of the same command finishes an
    interrupted run and redoes nothing. A video that cannot be read becomes a row of errors.parquet.

    With --plan a sample is measured, and what the whole corpus will take is printed instead.

    Example: huetrack preprocess videos/ --out dataset

    Kinetics: huetrack preprocess k400/train k400/val --kinetics.annotations k400/annotations
    --kinetics.replacements k400/replacement/replacement_for_corrupted_k400 --out dataset
    """
    if options.workers < 1:
        raise UserError("--workers must be at least 1")
    config = PreprocessConfig(
        corpus=options.corpus,
        selection=Selection(options.limit, options.split, options.shuffle_seed),
        decode=options.decode,
        codebook=options.codebook,
        shards=options.shards,
    )
    if _is_plan(options):
        plan(
            _videos(options, config),
            config,
            workers=options.workers,
            cores=options.cores or options.workers,
            sample_videos=options.videos,
            json_file=options.json,
        )
        return 0
    with (
        connected_ray(options.workers, label_selector(options.label_selector)),
        ProgressDisplay() as display,
        TrackedPreprocess(
            options.tracking_uri, options.experiment, options.out, config.content()
        ) as tracked,
    ):
        figures = WorkFigures(options.out.name)

        def progress(stage: str, done: int, total: int, remark: Remark) -> None:
            display(stage, done, total, remark)
            figures(stage, done, total, remark)
            tracked(stage, done, total, remark)

        summary = preprocess(
            options.sources,
            options.out,
            config,
            workers=options.workers,
            kinetics=options.kinetics,
            stage=options.stage,
            overwrite=options.overwrite,
            retry_errors=options.retry_errors,
            progress=progress,
        )
        if summary is not None:
            tracked.finish(summary)
    if summary is None:
        return 0
    left_out = {"left out": _counts(summary.sources)} if summary.sources else {}
    print_facts(
        f"Dataset {options.out}",
        {
            "videos": f"{summary.videos} ({summary.videos_failed} failed)",
            "errors": _counts(summary.errors),
            **left_out,
            "clips": f"{summary.clips} in {summary.shards} shards ({summary.shards_made} made now)",
            "frames": f"{summary.frames} ({summary.frames_per_s:.0f} frames/s)",
            "size": f"{summary.bytes / 1e6:.1f} MB",
            "peak memory of a worker": f"{summary.peak_worker_rss_mb} MB",
            "failed videos": options.out / "errors.parquet",
            **({"tracking": tracked.describe()} if tracked.describe() else {}),
        },
    )
    return 1 if summary.error_rate > options.max_error_rate else 0


def _is_plan(options: PreprocessOptions) -> bool:
    """Whether to plan only. Raises `UserError` for flags that do not go together."""
    if not options.plan:
        for flag in ("cores", "videos", "json"):
            if getattr(options, flag) is not None:
                raise UserError(f"--{flag} needs --plan")
        return False
    if options.stage is not None or options.overwrite or options.retry_errors:
        raise UserError(
            "--plan writes no dataset, so --stage, --overwrite and --retry-errors do not go with it"
        )
    if any(number is not None and number < 1 for number in (options.cores, options.videos)):
        raise UserError("--cores and --videos must be at least 1")
    return True


def _videos(options: PreprocessOptions, config: PreprocessConfig) -> Manifest:
    """The corpus to plan for: that of the sources, or of a manifest that is there already."""
    if not options.sources:
        return load_manifest(options.out / "manifest.parquet")
    selection, kinetics = config.selection, options.kinetics
    return build_corpus(options.sources, config.corpus, selection, kinetics).videos


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


@dataclass(frozen=True)
class ValidateOptions:
    """Options of `huetrack validate`."""

    dataset: LocationOption
    """Dataset folder, local or s3://BUCKET/PREFIX."""


def validate_command(options: Annotated[ValidateOptions, Parameter(name="*")]) -> int:
    """Check every promise about a dataset on disk; list what breaks and exit 1.

    Example: huetrack validate dataset
    """
    with ProgressDisplay() as progress:
        report = validate_dataset(options.dataset, progress)
    for problem in report.problems:
        print(problem)
    if report.problems:
        print(f"{options.dataset}: {len(report.problems)} problems")
        return 1
    print(
        f"{options.dataset}: sound ({report.videos} videos, {report.clips} clips in "
        f"{report.shards} shards, {report.failed} failed videos)"
    )
    return 0
