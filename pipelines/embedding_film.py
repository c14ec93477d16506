"""A film of a video beside its embeddings as colours: three principal components over the whole clip.

After the embedding figure of Vondrick et al. 2018: cells with like embeddings have like colours, in all
frames. Shape suffixes: N cells, C channels, 3 components, H, W pixels, h, w cells.
"""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor

from model.errors import UserError
from model.propagation.checks import check_next
from model.propagation.encoders import ColorizerEncoder
from model.propagation.frame_encoder import Encoder
from model.propagation.grid import CellGrid
from model.propagation.protocols import MatchingProtocol
from pipelines.progress import Progress
from pipelines.shown_video import ShownVideo
from pipelines.video import write_h264

SAMPLE_FRAMES, SAMPLE_CELLS = 64, 20_000
"""Frames, evenly over the clip, and cells of them together that the components are fitted on, at most."""
_LOW, _HIGH = 1.0, 99.0
"""Percentiles of a component over the sample that become the darkest and the brightest value."""


@dataclass(frozen=True)
class Components:
    """Principal components of a clip, and how their scores become colours."""

    pca: PCA
    low_3: np.ndarray
    high_3: np.ndarray

    @property
    def explained(self) -> float:
        """Share of the sample's variance that the three components hold."""
        return float(self.pca.explained_variance_ratio_.sum())


class ClipEmbedder:
    """The vectors by which frames of one clip are compared, as target frames: [C, h, w]."""

    def __init__(
        self, encoder: Encoder, protocol: MatchingProtocol, device: torch.device | str = "cpu"
    ) -> None:
        self._encoder = encoder
        self._protocol = protocol
        self._device = torch.device(device)
        # A head that sees several frames gets those before; anything else looks at one.
        in_window = protocol.feature == "embedding"
        self._references = ColorizerEncoder.WINDOW_REFERENCES if in_window else 0

    @torch.inference_mode()
    def embed(
        self, video: ShownVideo, wanted: Collection[int] | None = None
    ) -> Iterator[tuple[int, np.ndarray, CellGrid, Tensor]]:
        """Index, frame, grid and embedding of the wanted frames (None: of all), in order.

        Raises `UserError` for frames that differ in size.
        """
        recent: deque[Tensor] = deque(maxlen=max(1, self._references))
        grid: CellGrid | None = None
        for index, frame in enumerate(video.frames()):
            if grid is None:
                size_px = (frame.shape[0], frame.shape[1])
                grid = CellGrid(size_px, self._encoder.stride_px, self._protocol.frame_size_px)
            try:
                check_next(frame, grid.frame_size_px, index)
            except UserError as error:
                raise UserError(f"{video.footage.path}: {error}") from error
            ahead = range(index, index + self._references + 1)
            if wanted is not None and not any(i in wanted for i in ahead):
                continue
            features = self._encoder.encode(grid.encoder_input(frame, self._device))
            references = list(recent) if self._references and recent else [features]
            recent.append(features)
            if wanted is None or index in wanted:
                yield index, frame, grid, self._encoder.match(references, features)[1]


def fit_components(
    video: ShownVideo, embedder: ClipEmbedder, seed: int, progress: Progress
) -> Components:
    """Randomised PCA over a sample of the clip's cells; the same seed gives the same components.

    Raises `UserError` for a video without frames, and embeddings of fewer than three channels.
    """
    expected = video.about_frames()
    wanted = {int(i) for i in np.linspace(0, max(0, expected - 1), SAMPLE_FRAMES)}
    random = np.random.default_rng(seed)
    sample: list[np.ndarray] = []
    for _, _, _, embedding in embedder.embed(video, wanted):
        cells_NC = embedding.flatten(1).T.cpu().numpy()
        most = min(len(cells_NC), SAMPLE_CELLS // len(wanted))
        sample.append(cells_NC[random.choice(len(cells_NC), most, replace=False)])
        progress("sample", len(sample), max(len(wanted), len(sample)), "")
    if not sample:
        raise UserError(f"{video.footage.path}: holds no frame")
    all_NC = np.concatenate(sample)
    if min(all_NC.shape) < 3:
        raise UserError(f"{video.footage.path}: {all_NC.shape} cells and channels are too few")
    pca = PCA(n_components=3, svd_solver="randomized", random_state=seed).fit(all_NC)
    low, high = np.percentile(pca.transform(all_NC), [_LOW, _HIGH], axis=0)
    return Components(pca, low, high)


def colours(embedding_Chw: Tensor, grid: CellGrid, components: Components) -> np.ndarray:
    """Embedding of a frame -> uint8 RGB [H, W, 3] of its pixels, bicubic between the cells."""
    channels, height, width = embedding_Chw.shape
    scores_N3 = components.pca.transform(embedding_Chw.reshape(channels, -1).T.cpu().numpy())
    scaled = (scores_N3 - components.low_3) / np.maximum(components.high_3 - components.low_3, 1e-9)
    scaled_3hw = torch.from_numpy(np.float32(scaled).T.reshape(1, 3, height, width))
    covered = F.interpolate(scaled_3hw, grid.covered_px, mode="bicubic", align_corners=False)
    rows, columns = grid.frame_size_px
    shown = (covered[0, :, :rows, :columns].clamp(0, 1) * 255).round().to(torch.uint8)
    return shown.permute(1, 2, 0).contiguous().numpy()


def write_embedding_film(
    video: ShownVideo, embedder: ClipEmbedder, film: Path, seed: int, progress: Progress
) -> Components:
    """Write the film, H.264: left the video, right its embeddings. Raises as `fit_components`."""
    components = fit_components(video, embedder, seed, progress)
    expected = video.about_frames()

    def pictures() -> Iterator[np.ndarray]:
        for index, frame, grid, embedding in embedder.embed(video):
            progress("film", index + 1, max(expected, index + 1), "")
            yield np.concatenate((frame, colours(embedding, grid, components)), axis=1)

    write_h264(film, pictures(), video.footage.fps_hz())
    return components
