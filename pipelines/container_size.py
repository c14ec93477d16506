"""How long a file was when it was whole, by what its container declares.

Sources: ISO/IEC 14496-12 (boxes), RFC 8794 and RFC 9559 (EBML, Matroska), the RIFF specification.
"""

from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1aE\xdf\xa3"
_SEGMENT = b"\x18S\x80g"
_MAX_BOXES = 10_000


def declared_bytes(path: Path) -> int | None:
    """Bytes that the file should have at least; None where its container does not say."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
            return _end_of_boxes(file)
        if head.startswith(b"RIFF") and len(head) == 12:
            return 8 + int.from_bytes(head[4:8], "little")
        if head.startswith(_EBML):
            return _end_of_segment(file)
    return None


def _end_of_boxes(file: BinaryIO) -> int | None:
    """MP4 and QuickTime: the end of the last top-level box that begins inside the file."""
    end = 0
    for _ in range(_MAX_BOXES):
        file.seek(end)
        head = file.read(16)
        if len(head) < 8:
            return end
        size = int.from_bytes(head[:4], "big")
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:], "big")
        if size < 8:  # 0 means "up to the end of the file"; 2 to 7 mean nothing
            return None
        end += size
    return None


def _end_of_segment(file: BinaryIO) -> int | None:
    """Matroska and WebM: the end of the segment, where its length is known."""
    file.seek(len(_EBML))
    header_bytes = _vint(file)
    if header_bytes is None:
        return None
    file.seek(header_bytes, 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return None
    segment_bytes = _vint(file)
    return None if segment_bytes is None else file.tell() + segment_bytes


def _vint(file: BinaryIO) -> int | None:
    """A variable-length integer of EBML; None when it stands for "unknown"."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    value = int.from_bytes(first + rest, "big") & ((1 << 7 * length) - 1)
    return None if len(rest) < length - 1 or value == (1 << 7 * length) - 1 else value
