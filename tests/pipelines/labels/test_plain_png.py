"""Against Pillow: what is plain is read as it reads it, and the rest is left to it."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, PngImagePlugin

from pipelines.labels.davis import encode_mask, read_mask
from pipelines.labels.plain_png import SIGNATURE, plain_pixels

SIDES = st.integers(1, 20)
MASKS = st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays(np.uint8, shape))
ROWS = np.array([[0, 1, 2, 1], [3, 3, 0, 0], [1, 0, 255, 7]], np.uint8)


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(stream, *more, header=(4, 3, 8, 0, 0, 0, 0), before=b""):
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", *header)), before]
    return SIGNATURE + b"".join([*parts, chunk(b"IDAT", stream), *more, chunk(b"IEND", b"")])


def unfiltered(rows):
    return zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))


def by_pillow(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


@given(MASKS, st.sampled_from(["L", "P"]))
def test_files_of_pillow_are_read_as_pillow_reads_them(mask, mode):
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    buffer = io.BytesIO()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", "a test")
    image.save(buffer, format="PNG", pnginfo=notes, transparency=0, dpi=(72, 72))
    found = plain_pixels(buffer.getvalue())
    if found is not None:  # Pillow filters grey files
        assert found.tolist() == mask.tolist() == by_pillow(buffer.getvalue()).tolist()
    assert found is not None or mode == "L"


@given(MASKS)
def test_masks_that_are_written_here_are_plain(mask):
    found = plain_pixels(encode_mask("a", mask))
    assert found.dtype == np.uint8
    assert np.array_equal(found, mask)


def test_pixels_may_lie_in_several_chunks():
    stream = unfiltered(ROWS)
    content = png(stream[:5], chunk(b"IDAT", b""), chunk(b"IDAT", stream[5:]))
    assert plain_pixels(content).tolist() == ROWS.tolist() == by_pillow(content).tolist()


def test_filtered_rows_are_left_to_the_general_decoder(tmp_path):
    differences = np.diff(ROWS, axis=1, prepend=np.uint8(0))
    stream = zlib.compress(b"".join(b"\1" + row.tobytes() for row in differences))
    assert plain_pixels(png(stream)) is None
    (tmp_path / "a.png").write_bytes(png(stream))
    assert read_mask(tmp_path / "a.png").tolist() == ROWS.tolist()


WHOLE = png(unfiltered(ROWS))
STREAM = unfiltered(ROWS)
NOT_PLAIN = {
    "no PNG": b"GIF89a" + WHOLE[6:],
    "cut": WHOLE[:-1],
    "four bits": png(STREAM, header=(4, 3, 4, 0, 0, 0, 0)),
    "RGB": png(STREAM, header=(4, 3, 8, 2, 0, 0, 0)),
    "interlaced": png(STREAM, header=(4, 3, 8, 0, 0, 0, 1)),
    "no pixels": png(STREAM, header=(4, 0, 8, 0, 0, 0, 0)),
    "promises more": png(STREAM, header=(4, 4, 8, 0, 0, 0, 0)),
    "promises less": png(STREAM, header=(4, 2, 8, 0, 0, 0, 0)),
    "promises far more": png(STREAM, header=(2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)),
    "a bomb": png(zlib.compress(bytes(10**7))),
    "stream cut": png(STREAM[:-2]),
    "something behind the stream": png(STREAM + b"more"),
    "another stream": png(b"no zlib at all"),
    "an animation": png(STREAM, before=chunk(b"acTL", struct.pack(">II", 1, 0))),
    "two headers": png(STREAM, before=chunk(b"IHDR", WHOLE[16:29])),
    "no header": SIGNATURE + chunk(b"IDAT", STREAM) + chunk(b"IEND", b""),
}


@pytest.mark.parametrize("content", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_what_is_not_plain_or_not_whole_is_left_alone(content):
    assert plain_pixels(WHOLE).tolist() == ROWS.tolist()
    assert plain_pixels(content) is None


def test_every_changed_byte_is_noticed_or_harmless():
    for place in range(len(WHOLE)):
        changed = bytearray(WHOLE)
        changed[place] ^= 0x10
        found = plain_pixels(bytes(changed))
        assert found is None or found.tolist() == ROWS.tolist()


def test_annotated_sequences_are_plain_and_read_as_pillow_reads_them(shared_data):
    files = sorted((shared_data / "eval").glob("*/masks/*.png"))[::25]
    if not files:
        pytest.skip("no annotated sequences")
    for file in files:
        assert np.array_equal(plain_pixels(file.read_bytes()), by_pillow(file.read_bytes()))
