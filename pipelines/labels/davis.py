"""DAVIS masks: palette PNG files whose pixel values are object ids (0 = background, 255 = void).

Layout of a PNG file's first bytes: W3C, *Portable Network Graphics*, sections 5.2 and 11.2.1.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import UserError
from pipelines.labels.plain_png import GREY, PALETTE, SIGNATURE, plain_pixels
from pipelines.storage import Location, write_bytes

COLOUR_TYPES = {GREY: "grey", 2: "RGB", PALETTE: "palette", 4: "grey with alpha", 6: "RGBA"}


def davis_palette() -> NDArray[np.uint8]:
    """The palette of DAVIS and PASCAL VOC, uint8 RGB [256, 3].

    Every three bits of an index, lowest first, are one bit each of red, green and blue, highest
    first (VOCcolormap of the PASCAL VOC development kit).
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = (index >> (3 * level + channel)) & 1
            palette[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return palette


def read_mask(path: Location) -> NDArray[np.uint8]:
    """The object ids of a palette or 8-bit grey PNG, uint8 [H, W]; its colours do not matter.

    Raises:
        UserError: the file is missing or damaged, is no PNG, or its pixels are not indices (RGB,
            alpha, 16 bits, or grey of 2 or 4 bits, which decoders stretch to 0-255).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    ids_HW = plain_pixels(content)
    if ids_HW is not None:
        return ids_HW
    _refuse_other_pixels(path, content)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.verify()  # checksums, which decoding leaves out; the image is of no use after it
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return np.array(image, dtype=np.uint8)
    except (
        OSError,
        SyntaxError,  # what Pillow raises on a broken chunk
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"{path}: damaged or unreadable PNG: {error}") from error


def write_mask(path: Location, mask_HW: NDArray[Any]) -> None:
    """Write object ids [H, W] as a palette PNG: whole or not at all, the same bytes every time.

    Missing folders are made.

    Raises:
        UserError: `mask_HW` is not a non-empty [H, W] array of bool or integers from 0 to 255.
    """
    write_bytes(path, encode_mask(path, mask_HW))


def encode_mask(where: object, mask_HW: NDArray[Any]) -> bytes:
    """The bytes that `write_mask` writes. Raises `UserError` as it does, naming `where`."""
    if mask_HW.ndim != 2 or mask_HW.size == 0 or mask_HW.dtype.kind not in "bui":
        raise UserError(
            f"{where}: a mask must be [H, W] integers, not {mask_HW.dtype} {mask_HW.shape}"
        )
    if mask_HW.min() < 0 or mask_HW.max() > 255:
        raise UserError(
            f"{where}: a palette PNG holds ids 0 to 255, the mask {mask_HW.min()} to "
            f"{mask_HW.max()} (coco-video and mots hold more)"
        )
    image = Image.fromarray(mask_HW.astype(np.uint8))
    image.putpalette(davis_palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _refuse_other_pixels(path: Location, content: bytes) -> None:
    """Raise a UserError unless the PNG header promises pixels that are indices."""
    if not content.startswith(SIGNATURE):
        cause = "not a PNG file" if content else "an empty file"
        raise UserError(f"{path}: {cause}; masks are palette PNG files")
    if len(content) < 26 or content[12:16] != b"IHDR":
        raise UserError(f"{path}: damaged or unreadable PNG: no header")
    bits, colour_type = content[24], content[25]
    if colour_type == PALETTE or (colour_type == GREY and bits in (1, 8)):
        return
    name = COLOUR_TYPES.get(colour_type, f"unknown colour type {colour_type}")
    raise UserError(
        f"{path}: {name}, {bits} bits a channel; a mask must be a palette PNG (or 8-bit grey) "
        "whose pixel values are object ids"
    )
