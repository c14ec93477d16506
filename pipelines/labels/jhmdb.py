"""The joints of JHMDB: `VIDEO/joint_positions.mat`, whose `pos_img` is 2 x 15 x T, pixels counted from 1.

Other numbers of joints are read too, and the same as `VIDEO/keypoints.json`: `joints`, K names, and
`keypoints`, [T, K, 2].

Frames are named by their index; all of them are annotated, and the one person has the id 1. A joint
outside the picture stays there, as the data set has such joints.

Shape suffixes: K joints, T frames, 2 (x, y).
"""

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError
from model.propagation.annotations import Annotation, KeypointAnnotation
from pipelines.labels.checks import keypoints_to_write, table
from pipelines.labels.codec import (
    Frame,
    ParsedVideo,
    VideoInfo,
    frame_index,
    of_kind,
    safe_name,
    without_gaps,
)
from pipelines.storage import Location, local_file, read_json, write_atomically

FILE_NAME = "joint_positions.mat"
JSON_NAME = "keypoints.json"
PERSON = 1
FIRST_PIXEL = 1
"""The coordinate of the first pixel's centre in these files."""
JOINTS = (
    "neck",
    "belly",
    "face",
    "right_shoulder",
    "left_shoulder",
    "right_hip",
    "left_hip",
    "right_elbow",
    "left_elbow",
    "right_knee",
    "left_knee",
    "right_wrist",
    "left_wrist",
    "right_ankle",
    "left_ankle",
)
_HEADER_TEXT = b"MATLAB 5.0 MAT-file, joint positions".ljust(116)
"""In place of the one with the time of day, so that the same labels are the same bytes."""


def parse_jhmdb(path: Location, video_id: str) -> ParsedVideo:
    """A `joint_positions.mat`, or a `keypoints.json`. Raises `UserError`."""
    names, places_TK2 = (_read_json if path.suffix == ".json" else _read_mat)(path)
    if np.isinf(places_TK2).any():
        raise UserError(f"{path}: has an infinite place")
    xy_px_TK2 = places_TK2 - FIRST_PIXEL
    xy_px_TK2[np.isnan(xy_px_TK2).any(axis=2)] = np.nan

    def read(frame: Frame) -> KeypointAnnotation:
        if not isinstance(frame, int) or not 0 <= frame < len(xy_px_TK2):
            raise KeyError(frame)
        return KeypointAnnotation((PERSON,), xy_px_TK2[frame][None])

    info = VideoInfo(video_id, None, len(xy_px_TK2), {PERSON: "person"}, {}, names)
    return ParsedVideo(info, tuple(range(len(xy_px_TK2))), read)


def _read_mat(path: Location) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names of the joints, and places [T, K, 2] as the file counts them."""
    # Imported here, for it takes as long as the rest of a short command together.
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        with local_file(path) as file:
            found = loadmat(file, appendmat=False, variable_names=["pos_img"])
        places = found["pos_img"]
    except KeyError as error:
        raise UserError(f"{path}: holds no pos_img") from error
    except (
        MatReadError,
        ValueError,
        TypeError,
        NotImplementedError,  # version 7.3, which is HDF5
        OSError,
        EOFError,
        IndexError,
        OverflowError,
        MemoryError,
        UnicodeDecodeError,
        struct.error,
        zlib.error,
    ) as error:
        raise UserError(f"{path}: not a readable MAT-file of version 5 ({error})") from error
    if places.ndim == 2:  # MATLAB drops the last axis when it has length 1
        places = places[:, :, None]
    if (
        places.ndim != 3
        or len(places) != 2
        or not places.shape[1]
        or places.dtype.kind not in "iuf"
    ):
        raise UserError(f"{path}: pos_img must be numbers 2 x joints x frames, not {places.shape}")
    joints = places.shape[1]
    names = JOINTS if joints == len(JOINTS) else tuple(f"joint_{k}" for k in range(joints))
    return names, places.astype(np.float64).transpose(2, 1, 0)


def _read_json(path: Location) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    document = table(path, "the file", read_json(path))
    names, numbers = document.get("joints"), document.get("keypoints")
    if not isinstance(names, list) or not isinstance(numbers, list):
        raise UserError(f"{path}: holds no lists of joints and keypoints")
    try:
        places_TK2 = np.array(numbers, np.float64)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: keypoints are not numbers [T, K, 2]: {error}") from error
    if not names or places_TK2.ndim != 3 or places_TK2.shape[1:] != (len(names), 2):
        raise UserError(
            f"{path}: {len(names)} names of joints, and keypoints {places_TK2.shape} that must be "
            "[T, K, 2]"
        )
    return tuple(map(str, names)), places_TK2


def write_jhmdb(
    root: Location, video: VideoInfo, frames: Iterable[tuple[Frame, Annotation]]
) -> None:
    """`root/VIDEO/joint_positions.mat`, for one person, id 1, in every frame from 0 on; NaN for a joint
    that is not seen, and where nobody is."""
    from scipy.io import savemat

    path = root / safe_name(root, video.video_id) / FILE_NAME
    places: dict[int, NDArray[np.float64]] = {}
    for frame, annotation in of_kind(path, KeypointAnnotation, frames):
        where = f"{path}, frame {frame}"
        places_NK2 = keypoints_to_write(where, annotation)
        if not annotation.ids:
            places_NK2 = np.full((1, len(JOINTS), 2), np.nan)
        elif places_NK2.shape[:2] != (1, len(JOINTS)):
            raise UserError(
                f"{where}: JHMDB holds one person with {len(JOINTS)} joints, not {places_NK2.shape} "
                "(coco-keypoints holds others)"
            )
        elif annotation.ids != (PERSON,):
            raise UserError(
                f"{where}: JHMDB names no ids, its person is {PERSON}, not {annotation.ids[0]} "
                "(coco-keypoints keeps ids)"
            )
        places[frame_index(where, frame)] = places_NK2[0]
    without_gaps(path, sorted(places))
    xy_px_TK2 = np.array([places[frame] for frame in sorted(places)]) + FIRST_PIXEL

    def write(file: Path) -> None:
        variables = {"pos_img": xy_px_TK2.transpose(2, 1, 0)}
        savemat(file, variables, appendmat=False, do_compression=True)
        with file.open("r+b") as written:
            written.write(_HEADER_TEXT)

    write_atomically(path, write)
