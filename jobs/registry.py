"""The trained tracker in MLflow's model registry, for people who do not have huetrack."""

import contextlib
import importlib.metadata
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import model
from jobs.tracking import TrackedRun, Tracker
from jobs.tracking_uri import TrackingUri, configured_uri, default_uri
from model.errors import UserError
from model.propagation.encoders import Mix
from pipelines.mix import MIX_FILE, load_mix, save_mix
from pipelines.run_folder import WEIGHTS_FILE, read_config
from pipelines.storage import Location

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

CODE_FILE = Path(__file__).with_name("registered_tracker.py")
REQUIREMENTS = ("mlflow", "numpy", "safetensors", "torch")
"""What `registered_tracker.py` and `model/` import."""


def save_tracker(
    weights: Path, mix: Mix, folder: Path, run_id: str = "", model_id: str = ""
) -> None:
    """Write weights (a `.safetensors` file of a colouriser) and the mix for `lab` as an MLflow model into
    a new folder.

    It names the run and the logged model that it belongs to.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    with tempfile.TemporaryDirectory() as place:
        save_mix(Path(place), mix)
        mlflow.pyfunc.save_model(
            str(folder),
            mlflow_model=Model(run_id=run_id or None, model_id=model_id or None),
            python_model=str(CODE_FILE),
            code_paths=[str(Path(model.__file__).parent)],
            artifacts={"weights": str(weights), "mix": f"{place}/{MIX_FILE}"},
            signature=tracker_signature(),
            input_example=_input_example(),
            pip_requirements=_pinned_requirements(),
        )


def register_tracker(tracker: Tracker, weights: Location, name: str) -> str:
    """Log the tracker as a model of the run and register it; returns its address.

    That is `models:/NAME/VERSION`, or "" where it could not be done, which is a warning. A mix that lies
    beside the weights belongs to it.
    """
    mix = load_mix(weights)
    address = ""

    def register(client: "MlflowClient") -> None:
        nonlocal address
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        run_id = tracker.run.run_id
        experiment_id = client.get_run(run_id).info.experiment_id
        logged = client.create_logged_model(experiment_id, "tracker", run_id, model_type="tracker")
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / WEIGHTS_FILE  # MLflow takes no link, nor a file without a name
            file.write_bytes(weights.read_bytes())
            save_tracker(file, mix, Path(place) / "tracker", run_id, logged.model_id)
            client.log_model_artifacts(logged.model_id, f"{place}/tracker")
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        with contextlib.suppress(MlflowException):  # it is there already, or the next line tells
            client.create_registered_model(name)
        version = client.create_model_version(
            name, logged.artifact_location, run_id, model_id=logged.model_id
        )
        address = f"models:/{name}/{version.version}"

    tracker.attempt(register)
    return address


def register_again(run: Location, name: str) -> str:
    """A new version of the tracker of a run that has ended; returns what `register_tracker` does.

    Raises `UserError` for a run without its configuration.
    """
    config = read_config(run)
    # Without the password that MLFLOW_TRACKING_URI may have.
    stored = str(config.get("tracking_uri", ""))
    known = stored not in ("", str(configured_uri()))
    uri = TrackingUri(stored) if known else default_uri(run)
    tracked = TrackedRun(uri, config.get("mlflow_run_id", ""))
    return register_tracker(Tracker(tracked), run / WEIGHTS_FILE, name)


def check_name(name: str) -> None:
    """Raises `UserError` for a name that the registry would refuse, but only when the training is over."""
    if not re.fullmatch(r"(\w[\w .-]*)?", name):
        raise UserError(
            f"--register {name}: a name begins with a letter or digit and holds these, spaces and _ . -"
        )


def tracker_signature() -> "ModelSignature":
    """Names, types and shapes of what goes into `RegisteredTracker.predict` and comes out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    def tensor(name: str, kind: type[np.generic], *shape: int) -> TensorSpec:
        return TensorSpec(np.dtype(kind), shape, name)

    return ModelSignature(
        Schema([tensor("frames", np.uint8, -1, -1, -1, 3), tensor("first_mask", np.uint8, -1, -1)]),
        Schema(
            [
                tensor("masks", np.uint8, -1, -1, -1),
                tensor("object_ids", np.uint8, -1),
                tensor("confidence", np.float32, -1, -1),
            ]
        ),
        ParamSchema(
            [
                ParamSpec("protocol", "string", "crw"),
                ParamSpec("settings", "string", ""),
                ParamSpec("lab", "boolean", False),
            ]
        ),
    )


def _input_example() -> dict[str, np.ndarray]:
    """Three frames of 16x16 px in which a bright square moves to the right."""
    frames_NHW3 = np.full((3, 16, 16, 3), 40, np.uint8)
    for index in range(3):
        frames_NHW3[index, 4:12, 2 * index : 2 * index + 8] = (220, 180, 60)
    return {"frames": frames_NHW3, "first_mask": (frames_NHW3[0, ..., 0] == 220).astype(np.uint8)}


def _pinned_requirements() -> list[str]:
    """What is installed here, without the build (`2.12.1+cpu`) that package indexes do not hold."""
    versions = ((name, importlib.metadata.version(name)) for name in REQUIREMENTS)
    return [f"{name}=={version.split('+')[0]}" for name, version in versions]
