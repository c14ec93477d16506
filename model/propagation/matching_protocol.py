"""Every setting that decides how labels are carried, as one frozen record."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from model.errors import UserError
from model.propagation.matching import RECENTRED_WITH, Matching

LARGEST_DILATION_CELLS = 4  # of MAST's search


@dataclass(frozen=True)
class MatchingProtocol:
    """Every setting of a propagation. Raises UserError for a value out of range."""

    name: str
    """Printed beside every number; with overrides in brackets."""

    feature: Literal["embedding", "trunk"]
    """`embedding`: output of the head (it sees the context frames too); `trunk`: 2-D features."""

    normalise: bool
    """Scale the feature of every cell to unit L2 length before matching."""

    temperature: float
    """The dot product is divided by it before the softmax."""

    frame_size_px: tuple[int, int] | None
    """(height, width) a frame is squashed to before encoding; None keeps its own size."""

    anchor_first: bool
    """Keep annotated frames in the context for good, beside the recent ones."""

    recent_frames: int
    """How many of the latest frames are in the context, beside those that are kept."""

    top_k: int | None
    """Cells that are kept for each query cell; None: all of them."""

    radius_cells: float | None
    """A cell sees context cells closer than this; None: no window."""

    window_on_anchor: bool
    """Whether the window also limits the frames that are kept."""

    label_resize: Literal["nearest", "bilinear", "strided"]
    """How masks get to the cell grid: the pixel at each cell's centre, the mean of the pixels next to
    it (bilinear, align_corners False, no antialias), or the first pixel of the cell."""

    recent_step_frames: int = 1
    """Distance between the recent frames in the context: 2 takes the latest, the one before the last ..."""

    kept_frames: tuple[int, ...] = ()
    """Numbers of further frames, counted from the start, that are kept for good once they are labelled."""

    pad_with_first: bool = False
    """Whether copies of the first frame stand for the recent frames that a young video lacks; of the latest
    anchor, where there are several, as if the video began with it."""

    softmax: Literal["joint", "per_frame"] = "joint"
    """One softmax and top-k over all context frames, or one in each and the mean over the frames."""

    top_k_stage: Literal["before", "after"] = "before"
    """Top-k before the softmax (weights add up to 1) or after it (weights stay as they are)."""

    top_k_ties: Literal["first", "all"] = "first"
    """Of cells that tie with the k-th best: the first by frame, row and column, so that k are kept, or
    all of them."""

    window_shape: Literal["disc", "square"] = "disc"
    """Euclidean distance of two cells, or the larger of |dy| and |dx|."""

    window_closed: bool = False
    """Whether cells at exactly `radius_cells` are seen."""

    window_outside: Literal["unseen", "zero"] = "unseen"
    """Places of a window outside the image: left out, or cells with a logit and labels of 0, which take
    a share of the weight near the border."""

    recentre_after_frames: int | None = None
    """In context frames more than so many frames old the window is laid where a coarse search finds the
    cell (`model.propagation.recentred`); None: it always lies around the query cell's own place. The
    search has places `search_dilation` cells apart."""

    carried_state: Literal["soft", "hard"] = "soft"
    """What stays in the memory: the soft labels as predicted, or the decision in pixels (the likeliest
    object, the place of a joint, the box), brought to the grid again as an annotation is."""

    rescale: Literal["none", "output", "carried"] = "none"
    """Map of each label scaled to [0, 1] by its least and greatest value: `output`, the maps of masks in
    pixels, before the likeliest is taken; `carried`, all labels on the grid, which also stay so in the
    memory. A map with one value only stays as it is. Colours are never rescaled."""

    keypoint_mode: Literal["reference", "strict"] = "reference"
    """How keypoints and points are drawn and found: as JHMDB's public evaluations do, or without
    their rounding and half-cell shift (`model.propagation.columns.places`)."""

    keypoint_cells: int = 3
    """Cells whose mean place is the keypoint, in `reference` mode."""

    def __post_init__(self) -> None:
        for key in ("temperature", "radius_cells"):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"protocol setting {key}: {value} is not a positive number")
        if self.frame_size_px is not None and min(self.frame_size_px) < 1:
            raise UserError(f"protocol setting frame_size_px: {self.frame_size_px} is too small")
        if self.recent_frames < 0 or (self.recent_frames == 0 and not self.anchor_first):
            raise UserError(
                f"protocol setting recent_frames: {self.recent_frames} leaves no frame to match"
            )
        for key in ("top_k", "recent_step_frames", "keypoint_cells", "recentre_after_frames"):
            count = getattr(self, key)
            if count is not None and count < 1:
                raise UserError(f"protocol setting {key}: {count} is below 1")
        try:
            matching = self.matching
        except ValueError as error:
            raise UserError(f"protocol setting {error}") from error
        if self.recentre_after_frames is not None and not matching.may_recentre:
            raise UserError(
                f"protocol setting recentre_after_frames: {self.recentre_after_frames} needs "
                f"{RECENTRED_WITH}; recentre_after_frames=none leaves windows in place"
            )

    @property
    def matching(self) -> Matching:
        """The part that turns logits into weights."""
        return Matching(
            top_k=self.top_k,
            radius_cells=self.radius_cells,
            window_shape=self.window_shape,
            window_closed=self.window_closed,
            window_outside=self.window_outside,
            softmax=self.softmax,
            top_k_stage=self.top_k_stage,
            top_k_ties=self.top_k_ties,
        )

    def search_dilation(self, age_frames: int) -> int:
        """Cells between the places of the search in a context frame of that age, as MAST has it:
        min(4, age // `recentre_after_frames` + 1); 0 for a frame whose windows stay in place."""
        after = self.recentre_after_frames
        if after is None or age_frames <= after:
            return 0
        return min(LARGEST_DILATION_CELLS, age_frames // after + 1)

    def describe(self) -> dict[str, Any]:
        """All settings under their names, ready for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
