"""Preprocessing of damaged files: the job survives, every file is accounted for, good ones unharmed.

`python -m benchmarks.fuzz [--files 2000] [--json FILE]` needs real clips (HUETRACK_DATA, default
../shared/data). Damaged copies of the clips, and the clips cut at every box border, are preprocessed
together with whole clips; then the whole clips alone. Damaged files belong to the validation split, so
that both runs fit the same codebook and whole clips must come out equal to the last bit.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.figures import show
from benchmarks.mutations import boxes, cuts_at_every_box, write_mutants
from jobs.cluster import available_cpus, connected_ray
from pipelines.dataset_folder import PreprocessConfig
from pipelines.decode import DecodeConfig
from pipelines.preprocess import preprocess
from pipelines.shards import committed_shards


@dataclass(frozen=True)
class FuzzResult:
    """What became of the files."""

    damaged: int
    decoded: int
    failed: dict[str, int]
    """By kind."""
    unaccounted: list[str]
    """Damaged files that are neither decoded nor named; must be empty."""
    changed: list[str]
    """Whole clips whose rows differ from a run without damaged files; must be empty."""
    slowest_shard_s: float
    seconds: float


def clip_rows(dataset: Path) -> dict[str, dict[str, object]]:
    """clip_id -> its row."""
    rows: dict[str, dict[str, object]] = {}
    for shard in committed_shards(dataset):
        rows |= {row["clip_id"]: row for row in pq.read_table(shard).to_pylist()}
    return rows


def write_list(path: Path, good: list[Path], bad: list[Path]) -> None:
    """A list of videos: good ones for training, bad ones for validation."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "video_id", "split"])
        writer.writerows([[str(p), f"good/{p.stem}", "train"] for p in good])
        writer.writerows([[str(p), f"bad/{p.stem}", "val"] for p in bad])


def fuzz(
    sources: list[Path], good: list[Path], files: int, folder: Path, config: PreprocessConfig
) -> FuzzResult:
    """Ray must be connected. `sources` are damaged, `good` stay whole."""
    started_s = time.monotonic()
    config = replace(config, corpus=replace(config.corpus, val_share=0.0))
    bad = write_mutants(sources, files, folder / "damaged", seed=0)
    with_boxes = [p for p in sources if any(True for _ in boxes(p.read_bytes()))]
    if with_boxes:
        smallest = min(with_boxes, key=lambda p: p.stat().st_size)
        for index, content in enumerate(cuts_at_every_box(smallest.read_bytes())):
            path = folder / "damaged" / f"border-{index:03d}-{smallest.name}"
            path.write_bytes(content)
            bad.append(path)
    summaries = {}
    for name, chosen in (("alone", []), ("together", bad)):
        write_list(folder / f"{name}.csv", good, chosen)
        summaries[name] = preprocess(
            [str(folder / f"{name}.csv")], folder / name, config, workers=available_cpus()
        )
    together = summaries["together"]
    assert together is not None
    alone_rows, rows = clip_rows(folder / "alone"), clip_rows(folder / "together")
    decoded = {row["video_id"] for row in rows.values()}
    failed = {
        row["video_id"] for row in pq.read_table(folder / "together/errors.parquet").to_pylist()
    }
    named = [f"bad/{path.stem}" for path in bad]
    markers = [json.loads(p.read_text()) for p in (folder / "together/clips").glob("*.json")]
    return FuzzResult(
        damaged=len(bad),
        decoded=sum(name in decoded for name in named),
        failed=dict(Counter(together.errors)),
        unaccounted=[n for n in named if (n in decoded) == (n in failed)],
        changed=[key for key, row in alone_rows.items() if rows.get(key) != row],
        slowest_shard_s=max(marker["seconds"] for marker in markers),
        seconds=round(time.monotonic() - started_s, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000, help="damaged files")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    data = Path(os.environ.get("HUETRACK_DATA", "../shared/data")).resolve()
    if not (data / "clips").is_dir():
        sys.exit(f"{data}: no such folder (set HUETRACK_DATA)")
    clips = sorted((data / "clips").iterdir())
    tricky = sorted((data / "broken" / "tricky").iterdir())
    small = [path for path in clips + tricky if path.stat().st_size < 3_000_000]
    config = PreprocessConfig(decode=DecodeConfig(size_px=64, deadline_s=20))
    with tempfile.TemporaryDirectory() as name, connected_ray(available_cpus()):
        result = fuzz(small, clips[:10], options.files, Path(name), config)
    show("damaged files", asdict(result), options.json)
    if result.unaccounted or result.changed:
        sys.exit(1)


if __name__ == "__main__":
    main()
