"""CVAT for video 1.1: an XML file with the tracks of one video. `cvat_tracks` says what lies between shapes.

    <annotations><version>1.1</version>
      <meta><task><size>30</size>
        <original_size><width>320</width><height>240</height></original_size></task></meta>
      <track id="0" label="car">
        <box frame="0" keyframe="1" outside="0" occluded="0" xtl="10" ytl="20" xbr="50" ybr="40"/>
        <box frame="9" keyframe="1" outside="1" occluded="0" xtl="19" ytl="20" xbr="59" ybr="40"/>
      </track></annotations>

An object's id is its track's id + 1, since 0 is the background of masks. A file holds boxes, or masks and
polygons, or single points, or skeletons. CVAT measures from the outer edge of the first pixel, so half a
pixel is taken from points and joints. Frames are named by their index; a frame is annotated when an object
is in it. Where masks overlap, the one with the higher `z_order` lies on top, then the one that comes later.
"""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from model.errors import UserError
from model.propagation.annotations import (
    Annotation,
)
from pipelines.labels.checks import (
    MAX_ID,
    frame_number,
    integer,
    size_hw,
)
from pipelines.labels.codec import MAX_FRAMES, Frame, ParsedVideo, VideoInfo
from pipelines.labels.cvat_shapes import (
    SHAPES,
    joint_names,
    kind_of,
    masks_of,
    places_of,
    read_root,
)
from pipelines.labels.cvat_tracks import Shape, Track, covered
from pipelines.storage import Location


def parse_cvat(path: Location, video_id: str) -> ParsedVideo:
    """Raises `UserError` naming the file; entities and document types are refused."""
    root = _tracks_root(path)
    elements = root.findall("track")
    kinds = {kind_of(path, shape.tag) for track in elements for shape in track}
    if len(kinds) > 1:
        raise UserError(f"{path}: {' and '.join(sorted(kinds))} in one file; only one kind is read")
    joints = joint_names(path, root) if kinds == {"skeletons"} else ()
    tracks = [track for track in (_track(path, element, joints) for element in elements) if track]
    ids = [track.object_id for track in tracks]
    if len(set(ids)) != len(ids):
        raise UserError(f"{path}: two tracks have the same id")
    size, end = _size_and_end(path, root, tracks)
    if kinds == {"masks"} and size is None:
        raise UserError(f"{path}: masks and polygons need an original_size")

    def read(frame: Frame) -> Annotation:
        if not isinstance(frame, int) or not 0 <= frame < end:
            raise KeyError(frame)
        where = f"{path}, frame {frame}"
        found: list[tuple[Track, Shape]] = []
        try:
            for track in tracks:
                shape = track.at(frame)
                if shape is not None:
                    found.append((track, shape))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        if not found:
            raise KeyError(frame)
        if size is not None and kinds == {"masks"}:
            return masks_of(where, size, found)
        return places_of(where, next(iter(kinds)), found)

    names = {track.object_id: track.label for track in tracks}
    info = VideoInfo(video_id, size, end, names, {}, joints)
    return ParsedVideo(info, covered(tracks, end), read)


def _tracks_root(path: Location) -> Element:
    root = read_root(path)
    if root.find("image") is not None:
        raise UserError(f"{path}: is CVAT for images; read it as cvat-images")
    if root.find("meta/project") is not None:
        raise UserError(f"{path}: holds a project of several videos; export its tasks one by one")
    return root


def _size_and_end(
    path: Location, root: Element, tracks: Sequence[Track]
) -> tuple[tuple[int, int] | None, int]:
    """(rows, columns) if they are given, and the number of frames."""
    meta = root.find("meta")
    size: tuple[int, int] | None = None
    ends: list[int] = []
    for element in [] if meta is None else meta.iter():
        if element.tag == "original_size":
            size = size_hw(path, element.findtext("height"), element.findtext("width"))
        elif element.tag == "size":
            ends.append(integer(path, "the size", element.text, 0, MAX_FRAMES))
        elif element.tag in ("stop_frame", "stop"):
            ends.append(1 + frame_number(path, element.text))
    last = [track.shapes[-1] for track in tracks]
    end = max(ends) if ends else max((shape.frame + 1 for shape in last), default=0)
    for shape in last:  # the end of an object may lie just after the video
        if shape.frame + (not shape.outside) > end:
            raise UserError(f"{path}: a shape in frame {shape.frame} of a video of {end} frames")
    return size, end


def _track(path: Location, element: Element, joints: tuple[str, ...]) -> Track | None:
    """None for a track without shapes. For what moves only keyframes count, as CVAT has it."""
    where = f"{path}, track {str(element.get('id'))[:20]}"
    object_id = 1 + integer(where, "the id", element.get("id"), 0, MAX_ID - 1)
    tags = {shape.tag for shape in element}
    if len(tags) > 1:
        raise UserError(f"{where}: shapes of several kinds")
    if not tags:
        return None
    moves = not tags & {"polygon", "mask"}
    read = SHAPES[tags.pop()]
    shapes = [
        read(f"{where}, frame {str(shape.get('frame'))[:20]}", shape, joints)
        for shape in element
        if not moves or shape.get("keyframe", "1") == "1"
    ]
    shapes.sort(key=lambda shape: shape.frame)
    frames = [shape.frame for shape in shapes]
    if len(set(frames)) != len(frames):
        raise UserError(f"{where}: two shapes in one frame")
    if not shapes:
        return None
    return Track(object_id, element.get("label", ""), shapes, moves)
