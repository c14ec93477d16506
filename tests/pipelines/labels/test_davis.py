import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from model.errors import UserError
from pipelines.labels.davis import davis_palette, read_mask, write_mask

SIDES = st.integers(1, 20)


def png(width, height, bits, colour_type, rows, palette=b""):
    """A PNG file put together by hand; `rows` are packed rows without filter bytes."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    colours = chunk(b"PLTE", palette) if palette else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + colours
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def test_palette_begins_with_the_known_colours():
    assert davis_palette().shape == (256, 3)
    assert davis_palette().dtype == np.uint8
    assert davis_palette()[:9].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    voc = {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}  # person, screen, void
    assert {index: tuple(davis_palette()[index].tolist()) for index in voc} == voc
    assert len({tuple(colour) for colour in davis_palette().tolist()}) == 256


@given(st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays(np.uint8, shape)))
def test_round_trip(tmp_path_factory, mask):
    path = tmp_path_factory.mktemp("mask") / "00000.png"
    write_mask(path, mask)
    assert np.array_equal(read_mask(path), mask)
    assert read_mask(path).dtype == np.uint8


def test_written_file_is_an_indexed_png_with_the_palette(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "a.png", mask)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "P", (16, 16))
        assert np.array_equal(np.array(image.convert("RGB")), davis_palette()[mask])


def test_written_bytes_are_the_same_every_time(tmp_path):
    mask = np.arange(200, dtype=np.uint8).reshape(10, 20) % 3
    write_mask(tmp_path / "a.png", mask)
    write_mask(tmp_path / "b.png", mask.astype(np.int64))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_write_makes_folders_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "masks" / "-clip" / "00000.png"
    write_mask(path, np.zeros((4, 4), np.uint8))
    write_mask(path, np.ones((4, 4), bool))
    assert read_mask(path).tolist() == [[1] * 4] * 4
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "00000.png"
    write_mask(path, np.ones((4, 4), np.uint8))
    before = path.read_bytes()

    def full_disk(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_mask(path, np.zeros((4, 4), np.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((2, 2, 3), np.uint8),
        np.zeros((0, 5), np.uint8),
        np.zeros((2, 2), np.float32),
        np.full((2, 2), 256),
        np.full((2, 2), -1),
    ],
    ids=["RGB", "empty", "float", "256", "negative"],
)
def test_what_a_palette_cannot_hold_is_refused(tmp_path, mask):
    with pytest.raises(UserError, match=r"a\.png: a "):
        write_mask(tmp_path / "a.png", mask)
    assert not (tmp_path / "a.png").exists()


def test_plain_grey_is_read_as_indices(tmp_path):
    mask = np.array([[0, 1], [7, 255]], np.uint8)
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == mask.tolist()


def test_colours_of_the_palette_do_not_matter(tmp_path):
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    image = Image.fromarray(mask)
    image.putpalette([255, 255, 255] * 4)
    image.save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == mask.tolist()


@pytest.mark.parametrize(
    ("bits", "row", "indices"),
    [
        (1, b"\xa0", [1, 0, 1, 0]),
        (2, b"\x1b", [0, 1, 2, 3]),
        (4, b"\x01\x2f", [0, 1, 2, 15]),
        (8, b"\x00\x01\x02\xff", [0, 1, 2, 255]),
    ],
)
def test_packed_palette_files_keep_their_indices(tmp_path, bits, row, indices):
    colours = b"\0\0\0" * 2**bits
    (tmp_path / "a.png").write_bytes(png(4, 1, bits, 3, [row], colours))
    assert read_mask(tmp_path / "a.png").tolist() == [indices]


def test_one_bit_grey_is_object_one(tmp_path):
    (tmp_path / "a.png").write_bytes(png(4, 1, 1, 0, [b"\xa0"]))
    assert read_mask(tmp_path / "a.png").tolist() == [[1, 0, 1, 0]]


@pytest.mark.parametrize("bits", [2, 4])
def test_packed_grey_is_refused_as_decoders_stretch_it(tmp_path, bits):
    (tmp_path / "a.png").write_bytes(png(2, 1, bits, 0, [b"\x10"]))
    with pytest.raises(UserError, match=rf"a\.png: grey, {bits} bits"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.zeros((2, 2, 3), np.uint8), "RGB, 8 bits"),
        (np.zeros((2, 2, 4), np.uint8), "RGBA, 8 bits"),
        (np.zeros((2, 2), np.uint16), "grey, 16 bits"),
    ],
)
def test_pixels_that_are_no_indices_are_refused(tmp_path, array, kind):
    Image.fromarray(array).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=rf"a\.png: {kind}"):
        read_mask(tmp_path / "a.png")


def test_other_files_are_refused_by_name(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, format="JPEG")
    (tmp_path / "photo.png").write_bytes(buffer.getvalue())
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "bomb.png").write_bytes(png(60000, 60000, 8, 0, [b"\0"]))
    for name, cause in {
        "photo": "not a PNG file",
        "empty": "an empty file",
        "folder": "cannot be read",
        "missing": "cannot be read: No such file",
        "bomb": "damaged or unreadable PNG: .*exceeds limit",
    }.items():
        with pytest.raises(UserError, match=rf"{name}\.png: {cause}"):
            read_mask(tmp_path / f"{name}.png")


def test_damaged_files_are_refused_by_name_wherever_they_are_cut(tmp_path):
    whole = png(4, 3, 8, 3, [b"\x00\x01\x02\x01"] * 3, b"\0\0\0" * 3)
    path = tmp_path / "cut.png"
    for length in range(len(whole) - 12):  # the end chunk may be missing
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.png: "):
            read_mask(path)


@given(st.data())
def test_changed_bytes_never_change_the_mask(tmp_path_factory, data):
    mask = [[0, 1, 2, 1]] * 3
    content = bytearray(png(4, 3, 8, 3, [bytes(row) for row in mask], b"\0\0\0" * 3))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("flip") / "a.png"
    path.write_bytes(content)
    try:
        assert read_mask(path).tolist() == mask
    except UserError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
