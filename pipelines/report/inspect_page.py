"""The page about a dataset: one HTML file that holds everything it shows."""

import numpy as np
from rich.filesize import decimal

from pipelines.inspection import InspectConfig, Inspection, ShownClip
from pipelines.report.clip_pictures import clip_sets, clip_strip
from pipelines.report.colour_plane import LIGHTNESS, cluster_shares, plane
from pipelines.report.distributions import distributions
from pipelines.report.template import KeyNumber, write_page, yaml_text
from pipelines.storage import Location


def write_inspection(inspection: Inspection, config: InspectConfig, path: Location) -> None:
    """Write the page, whole or not at all; missing folders are made.

    Raises:
        UserError: a stored frame is not a JPEG.
        OSError: the page cannot be written.
    """
    sample, codebook = inspection.sample, inspection.codebook
    clusters = [] if codebook is None else cluster_shares(codebook, sample.code_counts_K)
    sets = _spread(sample.shown, config.sets)
    write_page(
        "inspect.html",
        path,
        inspection=inspection,
        key_numbers=_key_numbers(inspection),
        sampled=_sampled(inspection),
        strips=[clip_strip(clip) for clip in sample.shown],
        sets=[] if codebook is None else [clip_sets(c, codebook.centroids_K2) for c in sets],
        clusters=clusters,
        plane=plane(clusters) if clusters else "",
        lightness=LIGHTNESS,
        largest_share=max((cluster.share for cluster in clusters), default=0.0),
        diagrams=distributions(sample, inspection.sources),
        failed=sum(inspection.errors.values()),
        config=yaml_text(inspection.config),
        versions=yaml_text(inspection.versions),
    )


def _spread(clips: list[ShownClip], count: int) -> list[ShownClip]:
    """`count` of the clips, evenly over their order."""
    indices = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    return [clips[i] for i in indices]


def _key_numbers(inspection: Inspection) -> list[KeyNumber]:
    totals = inspection.totals
    failed = sum(inspection.errors.values())
    share = f"{100 * failed / totals['videos']:.2g} % failed" if failed else "none failed"
    codebook = inspection.codebook
    return [
        KeyNumber(f"{totals['videos']:,}", "videos", share),
        KeyNumber(f"{totals['clips']:,}", "clips", f"in {totals['shards']:,} shards"),
        KeyNumber(f"{totals['frames']:,}", "frames", _bytes_a_frame(totals)),
        KeyNumber(decimal(totals["bytes"]), "in shards", "JPEG frames and one-hot targets"),
        KeyNumber(
            "none" if codebook is None else str(len(codebook.centroids)),
            "colours",
            "no codebook yet"
            if codebook is None
            else f"from {codebook.pixels:,} cells of {codebook.videos:,} videos",
        ),
    ]


def _bytes_a_frame(totals: dict[str, int]) -> str:
    return f"{decimal(totals['bytes'] // totals['frames'])} a frame" if totals["frames"] else ""


def _sampled(inspection: Inspection) -> str:
    """What the distributions on the page are taken from."""
    sample = inspection.sample
    of_all = "all" if sample.shards == sample.available else f"{sample.available:,}"
    whole = f"all {sample.shards:,}" if of_all == "all" else f"{sample.shards:,} of {of_all}"
    return f"{whole} shards, {sample.clips:,} clips of {len(sample.clips_of):,} videos"
