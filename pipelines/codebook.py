"""The colour codebook: 16 clusters of the ab plane, fitted on cells sampled over the corpus.

Vondrick et al. 2018 quantise ab with k-means. The sample is bounded, so that a corpus of any size
costs minutes, and depends on the seed alone: neither the number of workers nor their order matters.
"""

import heapq
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import UserError
from pipelines.corpus import hashed_share
from pipelines.decode import DecodeConfig, DecodeError, Decoder
from pipelines.fetch import Fetcher
from pipelines.manifest import Video
from pipelines.storage import Location, fingerprint, read_json, write_json
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
    """The videos to sample, in their order: those of the training split with the lowest hashes.

    Where only the held-out split was asked for, it stands in; so do videos that cannot be read.
    """

    def rank(numbered: tuple[int, Video]) -> tuple[bool, bool, float]:
        _, video = numbered
        share = hashed_share(seed, "codebook", video.video_id)
        return video.refused_kind is not None, video.split != "train", share

    first = heapq.nsmallest(config.videos, enumerate(videos), key=rank)
    same = [numbered for numbered in first if rank(numbered)[:2] == rank(first[0])[:2]]
    return [video for _, video in sorted(same, key=lambda numbered: numbered[0])]


class ColourSampler:
    """Ray Data stage: videos that are fetched in a row -> for each its sample, or why there is none."""

    def __init__(
        self, decode: DecodeConfig, config: CodebookConfig, per_video: int, seed: int
    ) -> None:
        self._config = config
        self._per_video = per_video
        self._seed = seed
        self._decoder = Decoder(decode)
        self._fetcher = Fetcher()

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for video in (Video(**record) for record in row["videos"]):
            sample, kind, message = b"", "", ""
            try:
                with self._fetcher.local(video) as path:
                    ab = sample_ab(
                        self._decoder, video, path, self._config, self._per_video, self._seed
                    )
                sample = ab.astype("<f4").tobytes()
            except DecodeError as error:
                kind, message = error.kind, error.message
            yield {
                "video_id": video.video_id,
                "uri": video.uri,
                "ab": sample,
                "kind": kind,
                "message": message,
            }


def sample_ab(
    decoder: Decoder,
    video: Video,
    path: Path,
    config: CodebookConfig,
    per_video: int,
    seed: int,
) -> np.ndarray:
    """ab values [n, 2] float32 of random cells of the first frames. Raises `DecodeError`."""
    cells: list[np.ndarray] = []
    for chunk in decoder.chunks(path, max_frames=config.frames_per_video):
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


def save_codebook(codebook: Codebook, path: Location) -> None:
    """Write `codebook.json`."""
    write_json(path, asdict(codebook))


def load_codebook(path: Location) -> Codebook:
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
