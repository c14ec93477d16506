"""Small tar archives for tests."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def pack(path: Path, entries: Mapping[str, bytes | Path | None]) -> Path:
    """An archive of these members in this order, gzipped when its name ends in gz. A path is packed
    with what its file holds; None stands for a symbolic link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in entries.items():
            header = tarfile.TarInfo(name)
            data = content.read_bytes() if isinstance(content, Path) else content or b""
            if content is None:
                header.type, header.linkname = tarfile.SYMTYPE, "elsewhere"
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    raw = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw, mtime=0) if path.name.endswith("gz") else raw)
    return path
