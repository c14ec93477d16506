"""All formats of labels by name, and which of them lies in a place."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from model.errors import UserError
from model.propagation.annotations import Annotation
from pipelines.labels.coco_keypoints import parse_coco_keypoints, write_coco_keypoints
from pipelines.labels.coco_video import parse_coco_video, write_coco_video
from pipelines.labels.codec import (
    FolderLabels,
    Frame,
    LabelReader,
    ParsedLabels,
    ParsedVideo,
    VideoInfo,
    Write,
    only_video,
)
from pipelines.labels.cvat import parse_cvat
from pipelines.labels.cvat_images import FILE_NAME as CVAT_IMAGES_NAME
from pipelines.labels.cvat_images import parse_cvat_images
from pipelines.labels.cvat_images_writer import write_cvat_images
from pipelines.labels.cvat_writer import write_cvat
from pipelines.labels.jhmdb import FILE_NAME as JHMDB_NAME
from pipelines.labels.jhmdb import parse_jhmdb, write_jhmdb
from pipelines.labels.label_files import (
    Files,
    jhmdb_files,
    mot_files,
    otb_files,
    recognised,
    with_suffix,
)
from pipelines.labels.mask_folders import (
    MaskFolders,
    open_youtube_vos,
    write_davis,
    write_youtube_vos,
)
from pipelines.labels.mot import OTB_NAME, parse_mot, parse_otb, write_mot, write_otb
from pipelines.labels.mots import (
    parse_kitti_mots,
    parse_mots_challenge,
    write_kitti_mots,
    write_mots,
)
from pipelines.labels.point_tracks import (
    parse_tracks_csv,
    parse_tracks_npz,
    write_tracks_csv,
    write_tracks_npz,
)
from pipelines.storage import Location, read_json


@dataclass(frozen=True)
class Format:
    """A format of labels."""

    name: str
    summary: str
    """What it holds, and in which files."""
    open: Callable[[Location], LabelReader]
    """From a file, or the folder that holds all of them. Raises `UserError`."""
    write: Write


def open_labels(location: Location, format: str = "auto") -> LabelReader:
    """Labels in a file or folder, here or on S3.

    `auto` looks at what is there, in the order of `FORMATS`: masks come before joints that lie beside
    them. It never takes `kitti-mots`, since a file does not say from where its frames are counted.

    Raises:
        UserError: nothing is there, the format is not known, or no format is recognised.
    """
    known = None if format == "auto" else known_format(format)
    if not location.exists():
        raise UserError(f"{location}: no such file or folder")
    if known is None:
        name = recognised(location)
        if name is None:
            listed = "; ".join(f"{each.name} ({each.summary})" for each in FORMATS.values())
            raise UserError(f"{location}: no labels that are known here. Known are {listed}")
        known = FORMATS[name]
    reader = known.open(location)
    if not reader.videos():
        raise UserError(f"{location}: no labels of the format {known.name} ({known.summary})")
    return reader


def write_labels(
    format: str, root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """Write the labels of one video below the folder `root`, whole or not at all. Videos may be written
    side by side. `open_labels(root, format)` reads them.

    Raises:
        UserError: the format is not known or cannot hold these labels, or there is no frame.
    """
    known_format(format).write(root, video, frames)


def known_format(name: str) -> Format:
    """Raises `UserError` for another name."""
    if name not in FORMATS:
        raise UserError(f"{name!r} is not a format of labels; known are {', '.join(FORMATS)}")
    return FORMATS[name]


def _one_by_one(
    files: Callable[[Location], Files],
    parse: Callable[[Location, str], ParsedVideo],
    location: Location,
) -> LabelReader:
    """A reader where every video is a file."""
    return FolderLabels(location, files(location), parse)


def _many_in_one(
    suffix: str, parse: Callable[[Location], Mapping[str, ParsedVideo]], location: Location
) -> LabelReader:
    """A reader where a file holds any number of videos, or, in a folder, the one it is named after."""

    def parse_one(path: Location, video_id: str) -> ParsedVideo:
        return only_video(path, parse(path), video_id)

    if location.is_file():
        return ParsedLabels(location, parse(location))
    return _one_by_one(partial(with_suffix, suffix), parse_one, location)


def _open_cvat_images(location: Location) -> LabelReader:
    """As CVAT exports a task of several videos, or a file for each of them."""
    whole = location / CVAT_IMAGES_NAME
    place = whole if location.is_dir() and whole.is_file() else location
    return _many_in_one(".xml", parse_cvat_images, place)


def _read_coco(parse: Callable[[Location, Any], dict[str, ParsedVideo]]) -> Callable[..., Any]:
    return partial(_many_in_one, ".json", lambda path: parse(path, read_json(path)))


FORMATS: Mapping[str, Format] = {
    known.name: known
    for known in (
        Format("davis", "masks: VIDEO/*.png", MaskFolders, write_davis),
        Format(
            "youtube-vos", "masks: VIDEO/*.png and meta.json", open_youtube_vos, write_youtube_vos
        ),
        Format(
            "jhmdb",
            f"joints: VIDEO/{JHMDB_NAME}",
            partial(_one_by_one, jhmdb_files, parse_jhmdb),
            write_jhmdb,
        ),
        Format(
            "otb",
            f"a box: VIDEO/{OTB_NAME} or VIDEO.txt",
            partial(_one_by_one, otb_files, parse_otb),
            write_otb,
        ),
        Format(
            "mot",
            "boxes: VIDEO/gt/gt.txt or VIDEO.txt",
            partial(_one_by_one, mot_files, parse_mot),
            write_mot,
        ),
        Format(
            "mots",
            "masks: VIDEO.txt, frames from 1",
            partial(_one_by_one, mot_files, parse_mots_challenge),
            write_mots,
        ),
        Format(
            "kitti-mots",
            "masks: VIDEO.txt, frames from 0",
            partial(_one_by_one, mot_files, parse_kitti_mots),
            write_kitti_mots,
        ),
        Format(
            "coco-video",
            "masks: a .json of YouTube-VIS",
            _read_coco(parse_coco_video),
            write_coco_video,
        ),
        Format(
            "coco-keypoints",
            "joints: a .json of COCO keypoints",
            _read_coco(parse_coco_keypoints),
            write_coco_keypoints,
        ),
        Format(
            "cvat",
            "boxes, masks, points or skeletons: VIDEO.xml of CVAT for video 1.1",
            partial(_one_by_one, partial(with_suffix, ".xml"), parse_cvat),
            write_cvat,
        ),
        Format(
            "cvat-images",
            "boxes, masks, points or skeletons in single frames: annotations.xml of CVAT for images 1.1",
            _open_cvat_images,
            write_cvat_images,
        ),
        Format(
            "tracks-csv",
            "points: a .csv",
            partial(_many_in_one, ".csv", parse_tracks_csv),
            write_tracks_csv,
        ),
        Format(
            "tracks-npz",
            "points: VIDEO.npz",
            partial(_one_by_one, partial(with_suffix, ".npz"), parse_tracks_npz),
            write_tracks_npz,
        ),
    )
}
