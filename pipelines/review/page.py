"""From the output folder of a propagation to its review gallery."""

from collections.abc import Iterator

from pipelines.report.gallery import GalleryVideo, Heading, write_gallery
from pipelines.review.archive import ReviewedArchive, review_of
from pipelines.storage import Location, files_in

PAGE = "index.html"
SUMMARY_PAGE = "summary.html"
_NEXT_FRAMES = 3
"""Proposed for each video."""


def write_review_page(out: Location) -> Location:
    """Write `out/report/index.html` and what it loads; returns its place.

    Raises `UserError` when the folder holds no propagation, `OSError` when the page cannot be written.
    """
    archive = review_of(out)
    folder = out / "report"
    write_gallery(folder, _heading(archive), _shown(archive), archive.failed)
    return folder / PAGE


def _heading(archive: ReviewedArchive) -> Heading:
    config = archive.summary["config"]
    frames = sum(len(video.frames) for video in archive.videos)
    flagged = sum(int(video.flagged.sum()) for video in archive.videos)
    share = f", {100 * flagged / frames:.2g} % of them flagged" if frames else ""
    summary = archive.out / "report" / SUMMARY_PAGE
    return Heading(
        title=f"Labels of {len(archive.videos):,} videos",
        subtitle=f"{frames:,} frames{share}; model {config['model']['kind']}, "
        f"protocol {config['protocol']['name']}",
        summary_page=SUMMARY_PAGE if summary.is_file() else "",
    )


def _shown(archive: ReviewedArchive) -> Iterator[GalleryVideo]:
    overlays = set(files_in(archive.out / "overlays"))
    for video in archive.videos:
        yield GalleryVideo(
            video,
            archive.next_frames(video, _NEXT_FRAMES),
            has_film=f"{video.video_id}.mp4" in overlays,
            has_sheet=f"{video.video_id}.jpg" in overlays,
        )
