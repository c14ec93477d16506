"""The part of pathlib's interface that this project uses, for objects and prefixes of a bucket.

A prefix stands for a folder: it is there when an object lies below it, and needs no making. What a
listing said about an object is kept with its path, so that asking for its size costs no request.
"""

import errno
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from model.errors import UserError
from pipelines import s3
from pipelines.s3 import S3Object

SCHEME = "s3://"
_LISTINGS_AT_ONCE = 16
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True, order=True)
class S3Path:
    """`s3://bucket/key`. The key neither begins nor ends with a slash; "" is the bucket itself."""

    bucket: str
    key: str
    listed: S3Object | None = field(default=None, compare=False, repr=False)
    """What the listing that named this path said about it, if it is an object."""
    is_prefix: bool = field(default=False, compare=False, repr=False)
    """Whether a listing named it as a prefix of objects."""

    @staticmethod
    def parse(uri: str) -> "S3Path":
        """Raises `UserError` for what is no `s3://bucket/key`."""
        bucket, _, key = uri.removeprefix(SCHEME).partition("/")
        if not uri.startswith(SCHEME) or not _BUCKET.fullmatch(bucket):
            # Somebody may have written a password before an @: that is not repeated.
            shown = bucket.rpartition("@")[2]
            raise UserError(
                f"{SCHEME}{shown}: not an address s3://BUCKET/KEY (endpoint and credentials belong into "
                "the environment: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
            )
        return S3Path(bucket, key.strip("/"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> "S3Path":
        return self.joinpath(name)

    def joinpath(self, *names: str) -> "S3Path":
        return S3Path(self.bucket, "/".join(filter(None, [self.key, *names])))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "S3Path":
        return S3Path(self.bucket, self.key.rpartition("/")[0])

    @property
    def parents(self) -> tuple["S3Path", ...]:
        """Empty: an object may be named like a prefix without being in its way."""
        return ()

    def with_suffix(self, suffix: str) -> "S3Path":
        return self.parent / (self.stem + suffix)

    def absolute(self) -> "S3Path":
        return self

    def resolve(self) -> "S3Path":
        return self

    def is_file(self) -> bool:
        return self._object() is not None

    def is_dir(self) -> bool:
        if self.is_prefix or self.listed is not None:
            return self.is_prefix
        return s3.first_object(self.bucket, self._below()) is not None

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing to do: a prefix is there when an object lies below it."""

    def looked_up(self) -> "S3Path | None":
        """The path with `listed` filled; None when there is no such object."""
        found = self._object()
        return None if found is None else replace(self, listed=found)

    def size_bytes(self) -> int:
        """Raises `FileNotFoundError`."""
        found = self._object()
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "No such object", str(self))
        return found.bytes

    def iterdir(self) -> Iterator["S3Path"]:
        """Objects and prefixes one level down, from one listing."""
        prefixes, objects = s3.list_level(self.bucket, self._below())
        for prefix in prefixes:
            yield S3Path(self.bucket, prefix.rstrip("/"), is_prefix=True)
        yield from self._paths(objects)

    def files(self) -> Iterator["S3Path"]:
        """All objects below, at any depth, in the order of their keys."""
        yield from self._paths(s3.list_objects(self.bucket, self._below()))

    def relative_to(self, folder: "S3Path") -> PurePosixPath:
        return PurePosixPath(self.key).relative_to(folder.key)

    def read_bytes(self) -> bytes:
        """Raises `FileNotFoundError` and `StorageError`."""
        return s3.read(self.bucket, self.key)

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def _below(self) -> str:
        return f"{self.key}/" if self.key else ""

    def _paths(self, objects: Iterator[S3Object] | list[S3Object]) -> Iterator["S3Path"]:
        for found in objects:
            if not found.key.endswith("/"):  # an object that stands for a folder in web consoles
                yield S3Path(self.bucket, found.key, found)

    def _object(self) -> S3Object | None:
        if self.listed is not None or self.is_prefix or not self.key:
            return self.listed
        found = s3.first_object(self.bucket, self.key)
        return found if found is not None and found.key == self.key else None


def with_listing(paths: Iterable[S3Path]) -> list[S3Path]:
    """The paths whose `listed` was empty, filled: each parent is listed once. Absent ones are left out."""
    missing = {path for path in paths if path.listed is None}
    with ThreadPoolExecutor(_LISTINGS_AT_ONCE) as pool:
        levels = pool.map(lambda parent: list(parent.iterdir()), {path.parent for path in missing})
        return [path for level in levels for path in level if path in missing]
