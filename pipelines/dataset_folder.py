"""The dataset folder around its shards: configuration, summary, what may be removed and what is refused."""

import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from model.errors import UserError
from pipelines.codebook import CodebookConfig
from pipelines.corpus import CorpusConfig, Selection
from pipelines.decode import DecodeConfig
from pipelines.folder_lock import LOCK_FILE
from pipelines.shard_maker import ShardConfig
from pipelines.storage import (
    Location,
    drop_unfinished,
    files_in,
    fingerprint,
    read_json,
    remove_files,
    write_json,
)

_LISTING = ("archives.parquet", "sources.parquet", "manifest.parquet")
_FILES = (*_LISTING, "codebook.json", "errors.parquet", "summary.json")
INSPECT_PAGE = "report/inspect.html"
"""Where `huetrack inspect` puts its page."""


@dataclass(frozen=True)
class PreprocessConfig:
    """What a dataset is made of. Everything here but limits and attempts decides its content."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    selection: Selection = field(default_factory=Selection)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)
    shards: ShardConfig = field(default_factory=ShardConfig)

    def content(self) -> dict[str, Any]:
        """The settings that decide the dataset's bytes, flat."""
        ignored = {"decode.deadline_s", "decode.memory_mb", "shards.attempts"}
        flat = {
            f"{part}.{key}": value
            for part, record in asdict(self).items()
            for key, value in record.items()
        }
        return {key: value for key, value in flat.items() if key not in ignored}


@dataclass(frozen=True)
class ManifestFacts:
    """What the summary says about the manifest."""

    fingerprint: str
    videos: int
    sources: dict[str, int]
    """Rows of `sources.parquet` by state."""


@dataclass(frozen=True)
class PreprocessSummary:
    """`summary.json`."""

    state: Literal["incomplete", "complete"]
    config: dict[str, Any]
    fingerprint: str
    manifest: str
    codebook: str
    sources: dict[str, int]
    """What was found or annotated and is no video of the dataset, by state."""
    videos: int
    videos_failed: int
    errors: dict[str, int]
    shards: int
    clips: int
    frames: int
    bytes: int
    seconds: float
    """Wall clock of the run that finished the dataset."""
    shards_made: int
    """Shards made by that run; the others were there already."""
    frames_per_s: float
    """Frames made by that run per second of its shard stage."""
    peak_worker_rss_mb: int
    versions: dict[str, str]

    @property
    def error_rate(self) -> float:
        return self.videos_failed / self.videos if self.videos else 0.0


def config_fingerprint(config: PreprocessConfig, manifest: str) -> str:
    """Digest of the settings and of the manifest's fingerprint."""
    return fingerprint([config.content(), manifest])


def remove_dataset(out: Location) -> None:
    """Remove what a dataset consists of, and nothing else that may lie in the folder."""
    clips = out / "clips"
    shards = [file for name, file in files_in(clips).items() if name.startswith("shard-")]
    remove_files([*(out / name for name in (*_FILES, INSPECT_PAGE)), *shards])
    for folder in (clips, (out / INSPECT_PAGE).parent):
        if isinstance(folder, Path) and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def remove_leftovers(out: Location) -> None:
    """Remove the unfinished files of a run that was killed."""
    patterns = [f".{name}.*.partial" for name in _FILES]
    patterns += ["clips/.shard-*.partial", "report/.inspect.html.*.partial"]
    drop_unfinished(out, patterns)


def refuse_other_configuration(out: Location, config: PreprocessConfig) -> None:
    path = out / "summary.json"
    if not path.exists():
        # A run that was killed early leaves its listing alone; it is compared with the sources.
        if out.is_dir() and any(file.name not in (*_LISTING, LOCK_FILE) for file in out.iterdir()):
            raise UserError(f"{out}: is not empty and holds no dataset")
        return
    summary = read_json(path)
    before = summary.get("config") if isinstance(summary, dict) else None
    if not isinstance(before, dict):
        raise UserError(f"{path}: not the summary of a dataset")
    now = config.content()
    changed = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
    if changed:
        difference = ", ".join(f"{k} {before.get(k)} -> {now.get(k)}" for k in changed)
        raise UserError(
            f"{out}: made with another configuration ({difference}; fingerprints "
            f"{fingerprint(before)} and {fingerprint(now)}); use --overwrite or another folder"
        )


def write_summary(
    out: Location, config: PreprocessConfig, manifest: ManifestFacts, **totals: Any
) -> PreprocessSummary:
    """Totals are zero until the dataset is complete; the configuration is there from the start."""
    empty: dict[str, Any] = {
        "state": "incomplete",
        "codebook": "",
        "errors": {},
        **dict.fromkeys(("videos_failed", "shards", "clips", "frames", "bytes"), 0),
        **dict.fromkeys(("seconds", "shards_made", "frames_per_s", "peak_worker_rss_mb"), 0),
    }
    summary = PreprocessSummary(
        **(empty | totals),
        config=config.content(),
        fingerprint=config_fingerprint(config, manifest.fingerprint),
        manifest=manifest.fingerprint,
        sources=manifest.sources,
        videos=manifest.videos,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("ray", "decord2", "av", "pyarrow", "scikit-learn")},
        },
    )
    complete_already = totals == {} and (out / "summary.json").exists()
    if not complete_already:
        write_json(out / "summary.json", asdict(summary))
    return summary
