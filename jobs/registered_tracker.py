"""What MLflow runs when somebody loads a registered tracker: frames and a first mask in, masks out.

MLflow copies this file and `model/` beside the weights ("models from code", so that there is no pickle)
and runs it where huetrack is not installed. It may import nothing else of huetrack.

Shape suffixes: N frames, H, W pixels, L labels (background first).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from model.colorizer import load_colorizer
from model.errors import UserError
from model.propagation.encoders import ColorizerEncoder, Mix, join_lab
from model.propagation.engine import Encoder, PropagationResult, Propagator
from model.propagation.protocols import MatchingProtocol, get_protocol


class VideoTracker:
    """Carries the mask of a video's first frame through the others, as `huetrack propagate` does."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights, onto a GPU where there is one, and the mix."""
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._colorizer = load_colorizer(Path(context.artifacts["weights"]), self._device)
        self._mix = Mix(**json.loads(Path(context.artifacts["mix"]).read_text(encoding="utf-8")))

    def predict(
        self,
        context: PythonModelContext,
        model_input: Mapping[str, np.ndarray],
        params: Mapping[str, Any],
    ) -> dict[str, np.ndarray]:
        """Label a video.

        `model_input` holds `frames`, uint8 RGB [N, H, W, 3], and `first_mask`, uint8 [H, W]: the
        object ids of the first frame, 0 for background. `params` are `protocol`, its changed
        `settings` ("top_k=15 radius_cells=8") and `lab`, which joins Lab colours to the features in the
        proportion that was stored with the weights; MLflow fills in those that are not given.

        Returns `masks`, uint8 [N, H, W], the first one as given; `object_ids`, uint8 [L], 0 and then
        the ids in ascending order; and `confidence`, float32 [N, L]: the mean probability of a
        label over the cells where it is the likeliest, 0 where it is that nowhere. Raises
        `UserError` for input that does not fit together.
        """
        protocol = get_protocol(params["protocol"], params["settings"].split())
        frames_NHW3 = np.asarray(model_input["frames"])
        first_mask_HW = np.asarray(model_input["first_mask"])
        if len(frames_NHW3) == 0:
            raise UserError("frames holds no frame")
        tracker = self._propagator(protocol, joined=params["lab"])
        tracker.start(frames_NHW3[0], first_mask_HW)
        results = [tracker.step(frame) for frame in frames_NHW3[1:]]
        ids = np.unique(np.append(first_mask_HW, np.uint8(0)))
        return {
            "masks": np.stack([first_mask_HW, *(result.mask_HW for result in results)]),
            "object_ids": ids,
            "confidence": np.stack(
                [np.ones(len(ids), np.float32), *(_confidence(result) for result in results)]
            ),
        }

    def _propagator(self, protocol: MatchingProtocol, joined: bool) -> Propagator:
        encoder: Encoder = ColorizerEncoder(self._colorizer, protocol)
        if joined:
            encoder = join_lab(encoder, self._colorizer.trunk.channels, self._mix)
        return Propagator(encoder, protocol, self._device)


def _confidence(result: PropagationResult) -> np.ndarray:
    """Of every label, float32 [L]: its mean probability over the cells where it wins."""
    best_HW, winner_HW = result.probabilities_LHW.max(dim=0)
    won_HWL = F.one_hot(winner_HW, len(result.object_ids))
    sums_L = (best_HW[..., None] * won_HWL).sum(dim=(0, 1))
    means_L = sums_L / won_HWL.sum(dim=(0, 1)).clamp(min=1)
    return np.asarray(means_L.clamp(max=1).cpu())  # weights add up to 1 within rounding


# Two classes, because MLflow wants its own kinds of type hints where a model defines `predict` itself,
# warns whoever loads one with others, and knows none for arrays with names.
class RegisteredTracker(VideoTracker, PythonModel):  # type: ignore[misc]  # params are always given
    """The tracker as MLflow's model."""


set_model(RegisteredTracker())
