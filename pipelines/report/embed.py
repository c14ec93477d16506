"""Films and pictures as `data:` URIs, checked to be what every browser shows."""

import base64
import io
import itertools
from dataclasses import dataclass

import av
from av.container import InputContainer
from PIL import Image

from model.errors import UserError
from pipelines.storage import Location


@dataclass(frozen=True)
class EmbeddedFilm:
    """An MP4 file as a URI; `frames` is the number of its pictures."""

    uri: str
    poster_uri: str
    """Its middle picture as a JPEG file: what a browser shows before the film plays."""
    width_px: int
    height_px: int
    frames: int


@dataclass(frozen=True)
class EmbeddedPicture:
    """A PNG file as a URI."""

    uri: str
    width_px: int
    height_px: int


def embed_film(path: Location) -> EmbeddedFilm:
    """The film in a URI.

    Raises `UserError` naming the file if it cannot be read or is not H.264 in MP4.
    """
    content = _content(path)
    try:
        with av.open(io.BytesIO(content), "r", format="mp4") as container:
            if not container.streams.video:
                raise UserError(f"{path}: no video stream")
            stream = container.streams.video[0]
            codec = stream.codec_context.name
            if codec != "h264":
                raise UserError(f"{path}: {codec} video; browsers play H.264 everywhere")
            film = EmbeddedFilm(
                data_uri("video/mp4", content),
                data_uri("image/jpeg", _middle_picture(path, container)),
                stream.width,
                stream.height,
                stream.frames,
            )
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: not a readable MP4 file: {error.strerror}") from error
    return film


def _middle_picture(path: Location, container: InputContainer) -> bytes:
    """The middle picture of the film as a JPEG file."""
    middle = container.streams.video[0].frames // 2
    picture = next(itertools.islice(container.decode(video=0), middle, None), None)
    if picture is None:
        raise UserError(f"{path}: the film has no picture")
    file = io.BytesIO()
    picture.to_image().save(file, "JPEG", quality=80)
    return file.getvalue()


def embed_picture(path: Location) -> EmbeddedPicture:
    """The picture in a URI. Raises `UserError` naming the file if it is not a readable PNG."""
    content = _content(path)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width_px, height_px = image.size
            image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable PNG file") from error
    return EmbeddedPicture(data_uri("image/png", content), width_px, height_px)


def _content(path: Location) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def data_uri(media_type: str, content: bytes) -> str:
    """The file's content as a URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
