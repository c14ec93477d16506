"""The colour codebook: 16 clusters of the ab plane, fitted on cells sampled over the corpus.

Vondrick et al. 2018 quantise ab with k-means. The sample is bounded, so that a corpus of any size
costs minutes, and depends on the seed alone: neither the number of workers nor their order matters.
"""

import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model.errors import UserError
from pipelines.corpus import Video, hashed_share
from pipelines.decode import Decoder
from pipelines.storage import fingerprint, read_json, write_json
from pipelines.targets import cell_lab

SPACE = "CIE Lab, D65"


@dataclass(frozen=True)
class CodebookConfig:
    """How the codebook is fitted."""

    clusters: int = 16
    """Number of colour codes."""
    videos: int = 512
    """Videos from which colours are sampled, at most."""
    frames_per_video: int = 6
    """Frames of each of them, from its beginning (6 are one second at 6 fps)."""
    pixels: int = 50_000
    """Cells in the sample, about, shared out evenly over the videos."""

    def __post_init__(self) -> None:
        if not 2 <= self.clusters <= 256:
            raise UserError(f"clusters must lie in 2..256, not {self.clusters}")
        if min(self.videos, self.frames_per_video, self.pixels) < 1:
            raise UserError("videos, frames_per_video and pixels must be at least 1")


@dataclass(frozen=True)
class Codebook:
    """`codebook.json`."""

    space: str
    centroids: tuple[tuple[float, float], ...]
    """K rows of (a, b) in Lab units, sorted."""
    pixels: int
    videos: int
    seed: int
    inertia: float
    fingerprint: str

    @property
    def centroids_K2(self) -> np.ndarray:  # noqa: N802
        return np.array(self.centroids, dtype=np.float32)


def choose_videos(videos: Iterable[Video], config: CodebookConfig, seed: int) -> list[Video]:
    """The videos to sample: those of the training split with the lowest hashes."""
    candidates = [video for video in videos if video.split == "train"]
    ranked = sorted(candidates, key=lambda v: hashed_share(seed, "codebook", v.video_id))
    return ranked[: config.videos]


def sample_ab(
    decoder: Decoder, video: Video, config: CodebookConfig, per_video: int, seed: int
) -> np.ndarray:
    """ab values [n, 2] float32 of random cells of the first frames. Raises `DecodeError`."""
    cells: list[np.ndarray] = []
    for chunk in decoder.chunks(Path(video.uri), max_frames=config.frames_per_video):
        cells.extend(cell_lab(frame)[..., 1:].reshape(-1, 2) for frame in chunk.frames_NHW3)
    if not cells:
        return np.zeros((0, 2), dtype=np.float32)
    ab = np.concatenate(cells)
    random = np.random.default_rng([seed, zlib.crc32(video.video_id.encode())])
    return ab[random.choice(len(ab), size=min(per_video, len(ab)), replace=False)]


def fit_codebook(ab_by_video: dict[str, np.ndarray], clusters: int, seed: int) -> Codebook:
    """k-means over the samples, taken in the order of the video ids.

    Raises `UserError` when there are fewer distinct colours than clusters.
    """
    # Decoding workers import this module and need neither: 150 MB a worker.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    filled = {name: ab for name, ab in sorted(ab_by_video.items()) if len(ab)}
    if not filled:
        raise UserError("no video could be decoded, so there are no colours to cluster")
    sample = np.concatenate(list(filled.values())).astype(np.float64)
    if len(np.unique(sample, axis=0)) < clusters:
        raise UserError(f"the corpus holds fewer than {clusters} colours")
    with threadpool_limits(1):  # the order of floating-point sums must not depend on the machine
        kmeans = KMeans(clusters, n_init=4, random_state=seed).fit(sample)
    rows = tuple(
        sorted((round(float(a), 4), round(float(b), 4)) for a, b in kmeans.cluster_centers_)
    )
    return Codebook(
        space=SPACE,
        centroids=rows,
        pixels=len(sample),
        videos=len(filled),
        seed=seed,
        inertia=round(float(kmeans.inertia_), 2),
        fingerprint=fingerprint({"space": SPACE, "centroids": rows}),
    )


def save_codebook(codebook: Codebook, path: Path) -> None:
    """Write `codebook.json`."""
    write_json(path, asdict(codebook))


def load_codebook(path: Path) -> Codebook:
    """Read `codebook.json`. Raises `UserError` when it is damaged or its fingerprint is wrong."""
    record = read_json(path)
    try:
        record["centroids"] = tuple((float(a), float(b)) for a, b in record["centroids"])
        codebook = Codebook(**record)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a codebook ({error})") from error
    expected = fingerprint({"space": codebook.space, "centroids": codebook.centroids})
    if codebook.fingerprint != expected:
        raise UserError(
            f"{path}: fingerprint {codebook.fingerprint}, its centroids give {expected}"
        )
    return codebook
