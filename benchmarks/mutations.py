"""Damaged copies of real videos: what disks, networks and careless tools do, by a seed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta"})


@dataclass(frozen=True)
class Box:
    """A box of an MP4 or QuickTime file (ISO/IEC 14496-12)."""

    begin: int
    end: int
    kind: bytes


def boxes(content: bytes, begin: int = 0, end: int | None = None) -> Iterator[Box]:
    """Boxes between two offsets, those inside containers after their container."""
    end = len(content) if end is None else end
    while begin + 8 <= end:
        size = int.from_bytes(content[begin : begin + 4], "big")
        kind = content[begin + 4 : begin + 8]
        if size < 8 or begin + size > end:
            return
        yield Box(begin, begin + size, kind)
        if kind in _CONTAINERS:
            yield from boxes(content, begin + 8, begin + size)
        begin += size


def flipped_bits(content: bytes, random: np.random.Generator) -> bytes:
    """1 to 256 bits anywhere."""
    data = np.frombuffer(content, np.uint8).copy()
    places = random.integers(0, len(data), int(2 ** random.uniform(0, 8)))
    data[places] ^= (1 << random.integers(0, 8, len(places))).astype(np.uint8)
    return data.tobytes()


def flipped_header_bits(content: bytes, random: np.random.Generator) -> bytes:
    """1 to 32 bits in the first 4 KiB or in the `moov` box, where every bit means something."""
    places = [box for box in boxes(content) if box.kind == b"moov"]
    begin, end = (places[0].begin, places[0].end) if places else (0, min(len(content), 4096))
    return content[:begin] + _some_bits(content[begin:end], random, 32) + content[end:]


def _some_bits(content: bytes, random: np.random.Generator, at_most: int) -> bytes:
    data = np.frombuffer(content, np.uint8).copy()
    places = random.integers(0, len(data), int(random.integers(1, at_most + 1)))
    data[places] ^= (1 << random.integers(0, 8, len(places))).astype(np.uint8)
    return data.tobytes()


def cut_anywhere(content: bytes, random: np.random.Generator) -> bytes:
    return content[: int(random.integers(0, len(content)))]


def cut_at_a_box(content: bytes, random: np.random.Generator) -> bytes:
    """The end lost from a box's border on; anywhere in files without boxes."""
    borders = sorted({border for box in boxes(content) for border in (box.begin, box.end)})
    if not borders:
        return cut_anywhere(content, random)
    return content[: int(random.choice(borders))]


def swapped_boxes(content: bytes, random: np.random.Generator) -> bytes:
    """Two neighbouring pieces change places: boxes where there are some."""
    found = list(boxes(content))
    pairs = [(a, b) for a in found for b in found if a.end == b.begin]
    if pairs:
        first, second = pairs[int(random.integers(len(pairs)))]
        begin, middle, end = first.begin, first.end, second.end
    else:
        begin, middle, end = sorted(random.integers(0, len(content), 3).tolist())
    return content[:begin] + content[middle:end] + content[begin:middle] + content[end:]


def random_header(content: bytes, random: np.random.Generator) -> bytes:
    """The first 4 to 512 bytes are noise."""
    length = min(len(content), int(2 ** random.uniform(2, 9)))
    return random.bytes(length) + content[length:]


def hole(content: bytes, random: np.random.Generator) -> bytes:
    """Up to a tenth of the file is zero, as after a download that skipped a part."""
    length = int(random.integers(1, max(2, len(content) // 10)))
    begin = int(random.integers(0, len(content) - length + 1))
    return content[:begin] + bytes(length) + content[begin + length :]


def huge_number(content: bytes, random: np.random.Generator) -> bytes:
    """One to four 32-bit fields of a header hold their largest value."""
    found = [box for box in boxes(content) if box.kind not in _CONTAINERS | {b"mdat"}]
    data = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        if found:
            box = found[int(random.integers(len(found)))]
            at = int(random.integers(box.begin + 8, max(box.begin + 9, box.end - 3)))
        else:
            at = int(random.integers(0, min(len(data), 2048)))
        data[at : at + 4] = b"\xff\xff\xff\xff"[: len(data) - at]
    return bytes(data)


Mutation = Callable[[bytes, np.random.Generator], bytes]
MUTATIONS: tuple[Mutation, ...] = (
    flipped_bits,
    flipped_header_bits,
    cut_anywhere,
    cut_at_a_box,
    swapped_boxes,
    random_header,
    hole,
    huge_number,
)


def cuts_at_every_box(content: bytes) -> list[bytes]:
    """The file cut at each border of a box."""
    borders = sorted({border for box in boxes(content) for border in (box.begin, box.end)})
    return [content[:border] for border in borders if border < len(content)]


def write_mutants(sources: list[Path], count: int, folder: Path, seed: int) -> list[Path]:
    """`count` damaged files named after their source and damage, every kind in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for index in range(count):
        random = np.random.default_rng([seed, index])
        source = sources[int(random.integers(len(sources)))]
        mutation = MUTATIONS[index % len(MUTATIONS)]
        path = folder / f"{index:05d}-{mutation.__name__}-{source.stem[:40]}{source.suffix}"
        path.write_bytes(mutation(source.read_bytes(), random))
        written.append(path)
    return written
