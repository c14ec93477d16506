"""`huetrack demo`: the whole path on small videos, in minutes, with honest numbers."""

import itertools
import shutil
import time
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pyarrow.parquet as pq
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.cluster import available_cpus, connected_ray
from jobs.console import ProgressDisplay
from jobs.options import LocalOption, LocationOption
from jobs.probe_options import ProbeConfig
from jobs.propagate import run_propagation
from jobs.propagate_options import PropagateOptions
from jobs.report import ReportOptions, make_report
from jobs.train import train
from jobs.train_options import TrainOptions
from model.colorizer import ColorizerConfig
from model.errors import UserError
from model.fitter import FitConfig
from pipelines.clip_rows import BatchConfig
from pipelines.corpus import CorpusConfig
from pipelines.dataset_folder import PreprocessConfig
from pipelines.evaluation import MaskEvaluation, evaluate_masks
from pipelines.footage import Footage
from pipelines.labels.davis import write_mask
from pipelines.manifest import load_manifest
from pipelines.preprocess import preprocess
from pipelines.storage import Location, location, size_bytes, write_json
from pipelines.synthetic import write_annotated, write_corpus
from pipelines.validate import validate_dataset
from pipelines.video import write_h264

PROTOCOL: Literal["crw"] = "crw"
BASELINES = ("identity", "untrained")
EXCERPT_FRAMES = 72
EXCERPT_SHORT_SIDE_PX = 256


@dataclass(frozen=True)
class DemoOptions:
    """Options of `huetrack demo`."""

    _: KW_ONLY
    out: LocalOption = Path("demo")
    """Local folder for everything that the demo makes; an earlier demo in it is removed."""
    data: LocationOption | None = None
    """Folder of your own clips, local or s3://BUCKET/PREFIX; by default the demo renders its own, with
    true masks."""
    seed: int = 0
    """Scenes, held-out videos and initial weights."""
    steps: int = 400
    """Training steps."""
    videos: int = 300
    """Training videos to render."""
    held_out: int = 8
    """Annotated videos to render; none of their frames is trained on."""


DEFAULTS = DemoOptions()


def demo_command(options: Annotated[DemoOptions, Parameter(name="*")] = DEFAULTS) -> int:
    """Render videos, preprocess, train, propagate, evaluate and report, in minutes on two cores.

    The rendered videos show textured objects that move, turn and hide each other over textured
    moving backgrounds; J&F of the trained network stands beside that of the first mask repeated and
    of an untrained network. With --data your own clips are trained on, and since they have no masks,
    tiles of the first frame are carried through the beginning of four of them, for the eye.

    Example: huetrack demo --out demo
    """
    started_s = time.monotonic()
    _clear(options.out)
    workers = available_cpus()
    with connected_ray(workers):
        archive = options.data if options.data is not None else _render(options, workers)
        _dataset(options, archive, workers)
        train(
            TrainOptions(
                options.out / "dataset",
                run=options.out / "run",
                seed=options.seed,
                model=ColorizerConfig(width=32, head="linear"),
                fit=FitConfig(
                    steps=options.steps, lr_drop_at=0.75, validate_every=200, checkpoint_every=200
                ),
                batches=BatchConfig(batch_size=16, resolution_px=128),
                probe=ProbeConfig(every=0),
            )
        )
        page = _score(options, workers) if options.data is None else _show(options, workers)
    print(f"report: {page}\ntook {(time.monotonic() - started_s) / 60:.1f} minutes")
    return 0


def _clear(out: Path) -> None:
    """Remove an earlier demo, and refuse to remove anything else."""
    if out.exists() and any(out.iterdir()):
        if not (out / ".huetrack-demo").exists():
            raise UserError(f"{out}: is not empty and holds no earlier demo")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / ".huetrack-demo").touch()


def _render(options: DemoOptions, workers: int) -> Location:
    with ProgressDisplay() as progress:
        total = options.videos + options.held_out
        progress("render", 0, total)
        write_corpus(options.out / "corpus", options.videos, options.seed, processes=workers)
        progress("render", options.videos, total)
        write_annotated(options.out / "held-out", options.held_out, options.seed, processes=workers)
        progress("render", total, total)
    return options.out / "corpus"


def _dataset(options: DemoOptions, source: Location, workers: int) -> None:
    config = PreprocessConfig(corpus=CorpusConfig(seed=options.seed))
    with ProgressDisplay() as progress:
        out = options.out / "dataset"
        preprocess([str(source)], out, config, workers=workers, progress=progress)
        report = validate_dataset(out, progress)
    if report.problems:
        raise RuntimeError(f"the dataset is not sound: {report.problems[0]}")


def _propagate(options: DemoOptions, model: str, archive: Path, labels: Path, workers: int) -> Path:
    names = {str(options.out / "run"): "trained"}
    out = options.out / names.get(model, model)
    run_propagation(
        PropagateOptions(
            archive,
            labels=labels,
            out=out,
            model=model,
            protocol=PROTOCOL,
            workers=workers,
            untrained_width=32,
            seed=options.seed,
        )
    )
    return out


def _score(options: DemoOptions, workers: int) -> Location:
    """Baselines and the trained network on the held-out videos, as a table, JSON and page."""
    held_out = options.out / "held-out"
    trained = str(options.out / "run")
    outs = {
        name: _propagate(options, model, held_out / "videos", held_out, workers)
        for name, model in [*((b, b) for b in BASELINES), ("trained", trained)]
    }
    scores = {name: evaluate_masks(held_out, out) for name, out in outs.items()}
    record: dict[str, Any] = {"protocol": PROTOCOL, "seed": options.seed, "steps": options.steps}
    for name, evaluation in scores.items():
        everything = evaluation.to_json()
        numbers = {key: everything[key] for key in ("global", "per_object")}
        record[name] = {**everything["global"], **numbers}
    write_json(options.out / "summary.json", record)
    Console().print(_table(scores, options.held_out))
    print(f"numbers: {options.out / 'summary.json'}")
    return make_report(
        ReportOptions(
            outs["trained"],
            truth=held_out,
            run=options.out / "run",
            compare=tuple(outs[name] for name in BASELINES),
        )
    )


def _table(scores: dict[str, MaskEvaluation], videos: int) -> Table:
    table = Table(title=f"protocol {PROTOCOL}, {videos} held-out videos", title_justify="left")
    table.add_column("model")
    keys = ("J&F-Mean", "J-Mean", "J-Recall", "F-Mean", "F-Recall")
    for key in keys:
        table.add_column(key, justify="right")
    for name, evaluation in scores.items():
        numbers = evaluation.to_json()["global"]
        table.add_row(name, *(f"{numbers[key]:.3f}" for key in keys))
    return table


def _show(options: DemoOptions, workers: int) -> Location:
    """Own clips have no masks: carry a grid of tiles through some held-out ones, for the eye."""
    dataset = options.out / "dataset"
    failed = set(pq.read_table(dataset / "errors.parquet")["video_id"].to_pylist())
    manifest = load_manifest(dataset / "manifest.parquet")
    held_out = [v for v in manifest if v.split == "val" and v.video_id not in failed]
    archive, labels = options.out / "archive", options.out / "tiles"
    archive.mkdir()
    for index, video in enumerate(held_out[:4]):
        name = f"{index:02d}-{Path(video.video_id).name}"
        height, width = _excerpt(location(video.uri), archive / f"{name}.mp4")
        write_mask(labels / "masks" / name / "00000.png", tiles(height, width))
    out = _propagate(options, str(options.out / "run"), archive, labels, workers)
    return make_report(ReportOptions(out, run=options.out / "run"))


def _excerpt(source: Location, target: Path) -> tuple[int, int]:
    """Write the beginning of a video, made small, so that it is done in a minute at most.

    Returns its height and width.
    """
    item = Footage(source.stem, source, size_bytes(source))
    frames: list[np.ndarray] = []
    for _, frame_HW3 in itertools.islice(item.frames(), EXCERPT_FRAMES):
        scale = min(1.0, EXCERPT_SHORT_SIDE_PX / min(frame_HW3.shape[:2]))
        # H.264 needs even sides; so the tiles have them too.
        height, width = (2 * round(scale * side / 2) for side in frame_HW3.shape[:2])
        frames.append(cv2.resize(frame_HW3, (width, height), interpolation=cv2.INTER_AREA))
    write_h264(target, frames, item.fps_hz())
    return frames[0].shape[0], frames[0].shape[1]


def tiles(height_px: int, width_px: int, rows: int = 3, columns: int = 4) -> np.ndarray:
    """A mask [H, W] of numbered tiles with gaps between them."""
    mask = np.zeros((height_px, width_px), dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = height_px * row // rows, width_px * column // columns
            bottom, right = height_px * (row + 1) // rows, width_px * (column + 1) // columns
            inset = max(2, height_px // (6 * rows))
            mask[top + inset : bottom - inset, left + inset : right - inset] = (
                row * columns + column + 1
            )
    return mask
