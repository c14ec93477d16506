"""What one unit of work takes, measured on single machines, and what clouds allow.

Each figure says where it comes from: docs/results.md, or `python -m benchmarks.scaling measure`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Corpus:
    """Videos that are alike, up to a spread."""

    videos: int
    duration_s: float = 10.0
    fps_hz: float = 30.0
    """As filmed."""
    megapixels: float = 0.23
    """Of a frame; 640x360."""
    bytes_a_video: float = 1.5e6

    @property
    def frames(self) -> float:
        """Of a video, as filmed."""
        return self.duration_s * self.fps_hz


@dataclass(frozen=True)
class PreprocessRates:
    """`huetrack preprocess`. Core seconds on one of two cores of an AMD EPYC (docs/results.md)."""

    sampled_fps_hz: float = 6.0
    videos_per_shard: int = 16
    core_s_a_video: float = 0.009
    """What a video takes whatever it holds. This and the next two: least squares over 174 real clips."""
    core_s_a_sampled_frame: float = 0.0012
    """Lab, codes, JPEG, Parquet."""
    core_s_a_megapixel: float = 0.0013
    """Of the source, decoded."""
    spread: float = 0.6
    """Standard deviation of a video's time over its mean."""
    bytes_a_frame: float = 15.9e3
    """Stored."""
    listing_s_a_video: float = 20e-6
    """Of the driver: names, order, split, fingerprint, manifest."""
    codebook_videos: int = 512
    codebook_core_s_a_video: float = 0.05
    """One second of each is decoded."""
    codebook_fit_s: float = 3.0
    driver_s_a_task: float = 0.004
    """Of Ray Data in the driver: handing out a task and taking what it made."""
    driver_s_a_shard: float = 0.00015
    driver_bytes: float = 335e6
    driver_bytes_a_video: float = 0.32e3
    worker_bytes: float = 371e6
    gets_a_video: float = 1.0
    gets_a_shard: float = 2.0
    """Is it there already? And its rows of the manifest, at most."""
    puts_a_shard: float = 2.0
    """The shard and its marker."""


@dataclass(frozen=True)
class TrainRates:
    """`huetrack train`, the paper's recipe: 237.3 GFLOP a clip (docs/training.md)."""

    steps: int = 400_000
    batch_clips: int = 32
    clip_frames: int = 4
    images_per_s_a_gpu: float = 4650.0
    """Of an H200 at 35 % of its 790 TFLOP/s: computed, not measured."""
    checkpoint_every: int = 1000
    checkpoint_bytes: float = 150e6
    restart_s: float = 60.0
    """From the loss of a machine to the next step, another machine being there."""


@dataclass(frozen=True)
class ArchiveRates:
    """`huetrack propagate`, protocol `crw` at 256 px on one core (docs/results.md, "An archive")."""

    core_s_a_frame: float = 0.132
    spread: float = 0.5
    mask_bytes_a_frame: float = 1.5e3
    """This and the next two: the 194 frames of four annotated sequences at 480p and smaller."""
    overlay_bytes_a_frame: float = 4.5e3
    prediction_bytes_a_frame: float = 0.7e3
    driver_s_a_task: float = 0.004
    headers_at_once: int = 16
    """Which the driver reads of all videos before the first is labelled."""
    header_gets: float = 2.0
    gets_a_video: float = 10.0
    """Beside its header: the video and its labels (3), what is there of it already (4), its predictions for
    the totals (3). Counted as an S3 server saw them, as are those that follow."""
    puts_a_video: float = 6.0
    """Beside masks, of which each frame's is an object of its own."""
    puts_a_frame: float = 1.0


@dataclass(frozen=True)
class ObjectStore:
    """S3: what a prefix answers (AWS, "Best practices design patterns: optimizing Amazon S3 performance")
    and what is assumed of the way there."""

    gets_per_s: float = 5500.0
    puts_per_s: float = 3500.0
    prefixes: int = 1
    """Over which the keys spread evenly."""
    list_s_a_page: float = 0.15
    """A page of 1,000 keys. Assumed."""
    first_byte_s: float = 0.03
    """Assumed."""
    stream_bytes_per_s: float = 80e6
    """Of one download. Assumed."""
