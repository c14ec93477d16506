"""`huetrack review export`: the frames of a propagation that most need a person."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from cyclopts import Parameter

from jobs.console import ProgressDisplay, print_facts
from jobs.options import LocationOption
from model.errors import UserError
from pipelines.review.archive import review_of
from pipelines.review.export import ExportFormat, export_frames
from pipelines.review.selection import most_needed


@dataclass(frozen=True)
class ReviewExportOptions:
    """Options of `huetrack review export`."""

    out: LocationOption
    """Output folder of `huetrack propagate`."""
    _: KW_ONLY
    to: LocationOption
    """New folder for the frames."""
    format: ExportFormat = "davis"
    """`davis`: JPEGImages/ and Annotations/ with palette masks; `cvat`: images/ and annotations.xml of CVAT
    for images 1.1, for all kinds of labels."""
    most: int = 50
    """Frames, at most."""
    per_video: int = 3
    """Frames of one video, at most."""
    archive: LocationOption | None = None
    """The videos, if they are no longer where they were propagated."""


def review_export_command(options: Annotated[ReviewExportOptions, Parameter(name="*")]) -> int:
    """Write the frames whose correction is expected to put most labels right, with what was predicted.

    Correct the labels in place and give the folder to `huetrack propagate ... --corrections`: it makes
    again what the corrections touch, and nothing else. Frames that stay as they are do not count, unless
    you say --accept-unchanged there.

    Example: huetrack review export out --to corrected --format cvat --most 20
    """
    if options.most < 1 or options.per_video < 1:
        raise UserError("--most and --per-video must be at least 1")
    archive = review_of(options.out)
    needed = most_needed(archive, options.most, options.per_video)
    if not needed:
        print(f"{options.out}: no frame is expected to put anything right; nothing was written")
        return 0
    with ProgressDisplay() as progress:
        export_frames(
            archive, needed, options.to, options.format, videos=options.archive, progress=progress
        )
    first = needed[0]
    print_facts(
        f"Frames to correct {options.to}",
        {
            "frames": f"{len(needed)} of {len({frame.video_id for frame in needed})} videos",
            "expected to put right": f"{sum(f.expected_help for f in needed):.0f} labels",
            "first": f"{first.video_id}, frame {first.frame} ({first.reason})",
            "list": options.to / "frames.csv",
            "then": f"huetrack propagate ... --out {options.out} --corrections {options.to}",
        },
    )
    return 0
