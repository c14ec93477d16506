"""`huetrack confidence fit` on a small output folder."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import run
from model.confidence.scorer import load_confidence_model
from model.confidence.signals import SIGNAL_NAMES, ObjectSignals
from pipelines.labels.davis import write_mask
from pipelines.labels.rle import encode_runs

FRAMES = 20


@pytest.fixture
def propagated(tmp_path: Path) -> Path:
    """Four videos with true masks; the predicted one slips off, sooner where its margin is low."""
    rng = np.random.default_rng(0)
    out = tmp_path / "out"
    (out / "predictions").mkdir(parents=True)
    config = {"model": {"kind": "lab"}, "protocol": {"name": "crw"}}
    (out / "summary.json").write_text(json.dumps({"config": config}))
    for number in range(4):
        rows = []
        for frame in range(FRAMES):
            truth = np.zeros((32, 48), np.uint8)
            truth[8:24, 8:24] = 1
            write_mask(tmp_path / "truth" / f"v{number}" / f"{frame:05d}.png", truth)
            margin = float(rng.uniform())
            found = np.roll(truth, 2 if rng.uniform() < margin else 12, axis=1) == 1
            signals = ObjectSignals(cells=4.0, margin=margin)
            rows.append(
                {
                    "video_id": f"v{number}",
                    "frame_index": frame,
                    "frame": f"{frame:05d}",
                    "kind": "mask",
                    "object_id": 1,
                    "rle": encode_runs(found),
                    "height_px": 32,
                    "width_px": 48,
                    "anchor": frame == 0,
                    "signals": {name: getattr(signals, name) for name in SIGNAL_NAMES},
                }
            )
        pq.write_table(pa.Table.from_pylist(rows), out / "predictions" / f"v{number}.parquet")
    return out


def test_a_model_is_fitted_and_says_how_good_it_is(
    propagated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to, truth = propagated.parent / "own.json", propagated.parent / "truth"
    command = ["confidence", "fit", str(propagated), "--truth", str(truth), "--to", str(to)]
    assert run(command) == 0
    model = load_confidence_model(to)
    assert model.fitted_on["samples"] == 4 * (FRAMES - 1)  # not the annotated ones
    assert model.fitted_on["propagations"][0]["protocol"] == {"name": "crw"}
    high, low = (ObjectSignals(cells=4.0, margin=margin) for margin in (0.95, 0.05))
    assert model.probability(high) > 0.6 > 0.4 > model.probability(low)
    assert "AUROC" in capsys.readouterr().out


def test_the_way_back_is_used_where_it_was_gone(propagated: Path) -> None:
    for file in (propagated / "predictions").iterdir():
        rows = pq.read_table(file).to_pylist()
        for row in rows:
            row["signals"]["return_overlap"] = row["signals"]["margin"] ** 2
        pq.write_table(pa.Table.from_pylist(rows), file)
    to, truth = propagated.parent / "own.json", propagated.parent / "truth"
    assert run(["confidence", "fit", str(propagated), "--truth", str(truth), "--to", str(to)]) == 0
    model = load_confidence_model(to)
    (weight,) = [each.weight for each in model.features if each.signal == "return_overlap"]
    assert weight > 0


def test_bad_usage_is_one_line(propagated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = propagated.parent
    to = ["--to", str(parent / "own.json")]
    (parent / "empty").mkdir()
    write_mask(parent / "other" / "elsewhere" / "00000.png", np.ones((4, 4), np.uint8))
    for arguments, cause in (
        ([str(parent / "empty"), "--truth", str(parent / "truth")], "no summary.json"),
        ([str(propagated), "--truth", str(parent / "other")], "no true mask"),
        ([str(propagated), "--truth", str(parent / "nothing")], "nothing"),
    ):
        assert run(["confidence", "fit", *arguments, *to]) == 2
        error = capsys.readouterr().err
        assert cause in error and error.count("\n") == 1
    assert not (parent / "own.json").exists()
