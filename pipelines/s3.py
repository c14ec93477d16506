"""Requests to S3: one client for the standard AWS settings, bounded retries, and errors that say what to do.

Endpoint, region, profile and credentials come from the environment and the AWS configuration files, as
every AWS tool reads them. `AWS_NO_SIGN_REQUEST=1` asks without credentials (public buckets);
`HUETRACK_S3_TIMEOUT_S` (60) bounds the wait for an answer and `AWS_MAX_ATTEMPTS` (15) the tries.
"""

import contextlib
import errno
import io
import os
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any
from urllib.parse import urlsplit

from model.errors import UserError
from pipelines.s3_retries import RetryTeller

DEFAULT_ATTEMPTS = 15
DEFAULT_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10.0
LONGEST_PAUSE_S = 20.0
_CHUNK_BYTES = 1 << 20
_PART_BYTES = 64 << 20
"""Larger objects are sent in parts of this size; a part that fails for good aborts them all."""
_KEYS_PER_DELETE = 1000


class StorageError(Exception):
    """S3 refused, could not be reached, or failed more often than is tried.

    The message is one line that names the address, the cause and the remedy; the command line prints
    it and exits with status 2. No `UserError`: whoever takes those for damaged input must not take
    a network that is down for it.
    """


@dataclass(frozen=True)
class S3Object:
    """What a listing says about an object."""

    key: str
    bytes: int
    etag: str
    modified_ns: int


@dataclass(frozen=True)
class _Connection:
    """A boto3 client and what it was made from."""

    client: Any
    anonymous: bool
    attempts: int
    timeout_s: float


def list_objects(bucket: str, prefix: str) -> Iterator[S3Object]:
    """All objects whose key begins with `prefix`, in the order of their keys."""
    for page in _pages("list_objects_v2", bucket, prefix):
        yield from (_object(record) for record in page.get("Contents", []))


def list_level(bucket: str, prefix: str) -> tuple[list[str], list[S3Object]]:
    """One level below `prefix` (which ends with a slash): prefixes and objects."""
    prefixes: list[str] = []
    objects: list[S3Object] = []
    for page in _pages("list_objects_v2", bucket, prefix, Delimiter="/"):
        prefixes += [record["Prefix"] for record in page.get("CommonPrefixes", [])]
        objects += [_object(record) for record in page.get("Contents", [])]
    return prefixes, objects


def first_object(bucket: str, prefix: str) -> S3Object | None:
    """The object with the lowest key that begins with `prefix`; an object named so comes first."""
    with _explained(bucket, prefix):
        answer = _connection().client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    return next((_object(record) for record in answer.get("Contents", [])), None)


def download(bucket: str, key: str, file: IO[bytes]) -> None:
    """Write an object's content into an empty file and rewind it.

    A body that is cut short or stalls is asked for again. Raises `FileNotFoundError` when there is no
    such object, and `StorageError`.
    """
    from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

    connection = _connection()
    for attempt in range(1, connection.attempts + 1):
        with _explained(bucket, key):
            answer = connection.client.get_object(Bucket=bucket, Key=key)
            try:
                for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)
                if file.tell() == answer["ContentLength"]:
                    file.seek(0)
                    return
            except (HTTPClientError, IncompleteReadError, FlexibleChecksumError):
                pass  # asked for again below
        received = file.tell()
        file.seek(0)
        file.truncate()
        if attempt < connection.attempts:
            pause_s = min(0.5 * 2 ** (attempt - 1), LONGEST_PAUSE_S)
            time.sleep(pause_s * random.uniform(0.5, 1.0))
    raise StorageError(
        f"s3://{bucket}/{key}: the content broke off in {connection.attempts} tries, lastly after "
        f"{received} of {answer['ContentLength']} bytes; check the network and run again"
    )


def read(bucket: str, key: str) -> bytes:
    """An object's content; as `download`."""
    buffer = io.BytesIO()
    download(bucket, key, buffer)
    return buffer.getvalue()


def put(bucket: str, key: str, content: bytes) -> None:
    """Make an object of these bytes: one request, whole or not at all."""
    with _explained(bucket, key):
        _connection().client.put_object(Bucket=bucket, Key=key, Body=content)


def put_if_unchanged(bucket: str, key: str, content: bytes, etag: str | None) -> str | None:
    """Make an object if there is none (`etag` None), or replace the one that has this ETag.

    Returns the new ETag, or None when somebody else was there first. A server that knows no
    conditions replaces whatever there is.
    """
    from botocore.exceptions import ClientError

    condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": f'"{etag}"'}
    client = _connection().client
    with _explained(bucket, key):
        try:
            answer = client.put_object(Bucket=bucket, Key=key, Body=content, **condition)
        except ClientError as error:
            code = error.response["Error"].get("Code")
            if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "NoSuchKey"):
                return None
            if code != "NotImplemented":
                raise
            answer = client.put_object(Bucket=bucket, Key=key, Body=content)
    return str(answer["ETag"]).strip('"')


def upload(bucket: str, key: str, file: IO[bytes]) -> None:
    """Make an object of a file's content: one request, or parts that are aborted when one fails."""
    from boto3.s3.transfer import TransferConfig

    transfer = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES)
    with _explained(bucket, key):
        _connection().client.upload_fileobj(file, bucket, key, Config=transfer)


def delete(bucket: str, keys: Iterable[str]) -> None:
    """Delete objects; those that are not there are no error."""
    names = list(keys)
    for begin in range(0, len(names), _KEYS_PER_DELETE):
        part = names[begin : begin + _KEYS_PER_DELETE]
        request = {"Objects": [{"Key": key} for key in part], "Quiet": True}
        with _explained(bucket, part[0]):
            answer = _connection().client.delete_objects(Bucket=bucket, Delete=request)
        for failed in answer.get("Errors", []):
            raise StorageError(f"s3://{bucket}/{failed['Key']}: not deleted ({failed['Code']})")


def abort_uploads(bucket: str, prefix: str) -> None:
    """Drop the parts that a killed process left of unfinished uploads; they cost money."""
    for page in _pages("list_multipart_uploads", bucket, prefix):
        for record in page.get("Uploads", []):
            with _explained(bucket, record["Key"]):
                _connection().client.abort_multipart_upload(
                    Bucket=bucket, Key=record["Key"], UploadId=record["UploadId"]
                )


def arrow_filesystem() -> Any:
    """The pyarrow filesystem with the same settings; paths in it are `bucket/key`.

    It holds no credentials, so that none travel when it is pickled: like the client it finds them
    where it is used.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    connection = _connection()
    endpoint = urlsplit(connection.client.meta.endpoint_url)
    # Unlike boto3, pyarrow does not take a path-style endpoint from the environment.
    other = {}
    if not (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        other = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
    return S3FileSystem(
        anonymous=connection.anonymous,
        region=connection.client.meta.region_name,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=connection.timeout_s,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=connection.attempts),
        **other,
    )


def _object(record: dict[str, Any]) -> S3Object:
    modified_ns = int(record["LastModified"].timestamp()) * 1_000_000_000
    return S3Object(record["Key"], record["Size"], record.get("ETag", "").strip('"'), modified_ns)


def _pages(operation: str, bucket: str, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
    with _explained(bucket, prefix):
        yield from (
            _connection()
            .client.get_paginator(operation)
            .paginate(Bucket=bucket, Prefix=prefix, **more)
        )


def _connection() -> _Connection:
    """The connection for the environment as it is now."""
    prefixes = ("AWS_", "HUETRACK_S3_")
    return _connect(frozenset(i for i in os.environ.items() if i[0].startswith(prefixes)))


@lru_cache(maxsize=4)
def _connect(environment: frozenset[tuple[str, str]]) -> _Connection:
    # Local work shall not pay for the import (a quarter of a second and 30 MB a process).
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    settings = dict(environment)
    anonymous = settings.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "true", "yes")
    timeout = settings.get("HUETRACK_S3_TIMEOUT_S", str(DEFAULT_TIMEOUT_S))
    tries = settings.get("AWS_MAX_ATTEMPTS", str(DEFAULT_ATTEMPTS))
    try:
        timeout_s, attempts = float(timeout), int(tries)
        if timeout_s <= 0 or attempts < 1:
            raise ValueError
    except ValueError:
        raise UserError(
            f"HUETRACK_S3_TIMEOUT_S {timeout} and AWS_MAX_ATTEMPTS {tries} must be numbers above 0"
        ) from None
    try:
        session = boto3.Session()
        client = session.client(
            "s3",
            region_name=session.region_name or settings.get("AWS_REGION") or "us-east-1",
            config=Config(
                retries={"mode": "standard", "total_max_attempts": attempts},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=timeout_s,
                max_pool_connections=32,
                **({"signature_version": UNSIGNED} if anonymous else {}),
            ),
        )
    except (BotoCoreError, ValueError) as error:  # an unknown profile, an endpoint that is no URL
        raise StorageError(f"S3 settings: {error}; check the AWS_ variables") from error
    client.meta.events.register("needs-retry.s3", RetryTeller(client.meta.endpoint_url, attempts))
    return _Connection(client, anonymous, attempts, timeout_s)


@contextlib.contextmanager
def _explained(bucket: str, key: str) -> Iterator[None]:
    """Turns what botocore raises into `StorageError`, and a missing object into `FileNotFoundError`."""
    from botocore.exceptions import BotoCoreError, ClientError

    from pipelines.s3_errors import cause_and_remedy

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        uri = f"s3://{bucket}/{key}"
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "NoSuchKey":
            raise FileNotFoundError(errno.ENOENT, "No such object", uri) from None
        connection = _connection()
        told = cause_and_remedy(
            error, bucket, connection.client.meta.endpoint_url, connection.attempts
        )
        # The original may hold an access key or a signed address: it is not chained.
        raise StorageError(f"{uri}: {told}") from None
