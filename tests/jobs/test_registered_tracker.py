"""The registered tracker called by hand; through MLflow, see tests/end_to_end/test_tracking_server.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.pyfunc import PythonModelContext

from jobs.registered_tracker import VideoTracker
from model.colorizer import Colorizer, ColorizerConfig, load_colorizer, save_colorizer
from model.errors import UserError
from model.propagation.encoders import ColorizerEncoder, Mix, join_lab
from model.propagation.engine import Propagator
from model.propagation.protocols import get_protocol
from pipelines.mix import MIX_FILE, save_mix

MIX = Mix(temperature_scale=2.0, lab_variance=60.0)
DEFAULTS = {"protocol": "crw", "settings": "", "lab": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    torch.manual_seed(0)
    save_colorizer(Colorizer(ColorizerConfig(width=4, embedding_channels=8)), path)
    return path


@pytest.fixture(scope="module")
def context(weights: Path) -> PythonModelContext:
    save_mix(weights.parent, MIX)
    return PythonModelContext(
        {"weights": str(weights), "mix": str(weights.parent / MIX_FILE)}, None
    )


@pytest.fixture(scope="module")
def tracker(context: PythonModelContext) -> VideoTracker:
    loaded = VideoTracker()
    loaded.load_context(context)
    return loaded


def video() -> dict[str, np.ndarray]:
    """Four noisy frames of 40x56 px with two bright squares that move; ids 3 and 200."""
    frames = np.random.default_rng(0).integers(0, 60, (4, 40, 56, 3)).astype(np.uint8)
    mask = np.zeros((40, 56), np.uint8)
    for index in range(4):
        frames[index, 8:24, 4 + index : 20 + index] = (230, 40, 40)
        frames[index, 16:32, 32 - index : 48 - index] = (40, 40, 230)
    mask[8:24, 4:20], mask[16:32, 32:48] = 3, 200
    return {"frames": frames, "first_mask": mask}


def test_lab_colours_hold_what_moves(tracker: VideoTracker, context: PythonModelContext) -> None:
    given = video()
    result = tracker.predict(context, given, {**DEFAULTS, "lab": True})
    assert result["masks"].shape == (4, 40, 56)
    assert result["masks"].dtype == np.uint8
    assert (result["masks"][0] == given["first_mask"]).all()
    assert result["object_ids"].tolist() == [0, 3, 200]
    for id_, colour in [(3, 0), (200, 2)]:
        truth = given["frames"][-1, ..., colour] > 200
        found = result["masks"][-1] == id_
        assert (truth & found).sum() / (truth | found).sum() > 0.6
    assert (result["confidence"][0] == 1).all()
    assert ((result["confidence"] > 1 / 3) & (result["confidence"] <= 1)).all()


@pytest.mark.parametrize(
    ("protocol", "settings", "lab"),
    [
        ("crw", "top_k=3 radius_cells=2", False),
        ("crw", "top_k=3 radius_cells=2", True),
        ("vidcolor", "", False),
    ],
)
def test_it_is_the_engine_under_the_protocol_asked_for(
    tracker: VideoTracker,
    context: PythonModelContext,
    weights: Path,
    protocol: str,
    settings: str,
    lab: bool,
) -> None:
    given = video()
    chosen = get_protocol(protocol, settings.split())
    learned = ColorizerEncoder(load_colorizer(weights), chosen)
    engine = Propagator(join_lab(learned, 16, MIX) if lab else learned, chosen)
    engine.start(given["frames"][0], given["first_mask"])
    result = tracker.predict(
        context, given, {"protocol": protocol, "settings": settings, "lab": lab}
    )
    for index in range(1, 4):
        expected = engine.step(given["frames"][index])
        assert (result["masks"][index] == expected.mask_HW).all()
        soft = expected.probabilities_LHW.numpy()
        for label in range(3):
            cells = [p for p in soft.reshape(3, -1).T if p.argmax() == label]
            mean = np.mean([p[label] for p in cells]) if cells else 0.0
            assert result["confidence"][index, label] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "params", "cause"),
    [
        ({"frames": np.zeros((0, 40, 56, 3), np.uint8)}, {}, "holds no frame"),
        ({"first_mask": np.zeros((40, 56), np.uint8)}, {}, "has no object"),
        ({"first_mask": np.ones((40, 48), np.uint8)}, {}, "48x40 px"),
        ({}, {"protocol": "best"}, "unknown protocol 'best'"),
        ({}, {"settings": "top_k"}, "not of the form key=value"),
    ],
)
def test_what_does_not_fit_is_named(
    tracker: VideoTracker,
    context: PythonModelContext,
    changed: dict[str, np.ndarray],
    params: dict[str, Any],
    cause: str,
) -> None:
    with pytest.raises(UserError, match=cause):
        tracker.predict(context, {**video(), **changed}, {**DEFAULTS, **params})
