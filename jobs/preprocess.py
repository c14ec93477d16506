"""`huetrack preprocess` and `huetrack validate`."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.cluster import available_cpus, connected_ray
from jobs.console import ProgressDisplay, print_facts
from model.errors import UserError
from pipelines.codebook import CodebookConfig
from pipelines.corpus import CorpusConfig
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from pipelines.preprocess import preprocess
from pipelines.shard_maker import ShardConfig
from pipelines.validate import validate_dataset


@dataclass(frozen=True)
class PreprocessOptions:
    """Options of `huetrack preprocess`."""

    sources: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Folders, globs, video files, or CSV, TSV or Parquet lists of videos (column uri)."""
    _: KW_ONLY
    out: Path
    """Dataset folder to make or to finish."""
    stage: Literal["manifest", "codebook", "shards"] | None = None
    """Stop after this stage (earlier ones run first where their file is missing)."""
    workers: int = field(default_factory=available_cpus)
    """Decoding workers; the dataset does not depend on their number."""
    overwrite: bool = False
    """Remove a dataset that was made with another configuration."""
    max_error_rate: float = 0.1
    """Share of failed videos above which the exit status is 1."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    shards: ShardConfig = field(default_factory=ShardConfig)


def preprocess_command(options: Annotated[PreprocessOptions, Parameter(name="*")]) -> int:
    """Make a training set: manifest, colour codebook and shards of clips.

    Videos are sampled at 6 frames/s by timestamp, resized to 256x256, cut into clips of four frames
    and stored as Parquet with one-hot colour targets. A rerun of the same command finishes an
    interrupted run and redoes nothing. A video that cannot be read becomes a row of errors.parquet.

    Example: huetrack preprocess videos/ --out dataset
    """
    if options.workers < 1:
        raise UserError("--workers must be at least 1")
    config = PreprocessConfig(options.corpus, options.decode, options.codebook, options.shards)
    with connected_ray(options.workers), ProgressDisplay() as progress:
        summary = preprocess(
            options.sources,
            options.out,
            config,
            workers=options.workers,
            stage=options.stage,
            overwrite=options.overwrite,
            progress=progress,
        )
    if summary is None:
        return 0
    errors = ", ".join(f"{kind} {count}" for kind, count in summary.errors.items()) or "none"
    print_facts(
        f"Dataset {options.out}",
        {
            "videos": f"{summary.videos} ({summary.videos_failed} failed)",
            "errors": errors,
            "clips": f"{summary.clips} in {summary.shards} shards ({summary.shards_made} made now)",
            "frames": f"{summary.frames} ({summary.frames_per_s:.0f} frames/s)",
            "size": f"{summary.bytes / 1e6:.1f} MB",
            "peak memory of a worker": f"{summary.peak_worker_rss_mb} MB",
            "failed videos": options.out / "errors.parquet",
        },
    )
    return 1 if summary.error_rate > options.max_error_rate else 0


@dataclass(frozen=True)
class ValidateOptions:
    """Options of `huetrack validate`."""

    dataset: Path
    """Dataset folder."""


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
