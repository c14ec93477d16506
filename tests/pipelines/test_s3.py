"""Requests to a real S3 server, in its own process, through a proxy that breaks some of them."""

import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

from pipelines import s3
from pipelines.s3 import StorageError
from pipelines.s3_path import S3Path
from pipelines.storage import open_binary
from tests.conftest import S3_ACCESS_KEY, S3_SECRET_KEY
from tests.s3_faults import Fault, FaultyProxy, Kind

CONTENT = bytes(range(256)) * 4096


def test_objects_come_back_and_listings_know_their_size_and_etag(bucket: S3Path) -> None:
    names = ["-a.bin", "_b.bin", "c d/č+%.bin", "c d/x//y.bin"]
    for name in names:
        s3.put(bucket.bucket, name, name.encode())
    found = list(s3.list_objects(bucket.bucket, ""))
    assert [item.key for item in found] == sorted(names)
    client = boto3.client("s3")
    for item in found:
        head = client.head_object(Bucket=bucket.bucket, Key=item.key)
        assert (item.bytes, f'"{item.etag}"') == (head["ContentLength"], head["ETag"])
        assert s3.read(bucket.bucket, item.key) == item.key.encode()
    assert s3.list_level(bucket.bucket, "c d/")[0] == ["c d/x/"]
    with pytest.raises(FileNotFoundError, match=r"No such object: 's3://.*/none'"):
        s3.read(bucket.bucket, "none")
    s3.delete(bucket.bucket, [*names, "none"])
    assert list(s3.list_objects(bucket.bucket, "")) == []


def test_a_listing_of_many_objects_is_complete_and_asks_for_none_of_them(
    bucket: S3Path, s3_proxy: FaultyProxy
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: s3.put(bucket.bucket, f"many/{i:05d}", b""), range(1005)))
    s3_proxy.forget()
    assert len(list(s3.list_objects(bucket.bucket, "many/"))) == 1005
    assert s3_proxy.methods() == {"GET": 2}
    s3.delete(bucket.bucket, [f"many/{index:05d}" for index in range(1005)])
    assert s3.first_object(bucket.bucket, "many/") is None


def test_a_large_file_goes_up_in_parts(
    bucket: S3Path, s3_proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_PART_BYTES", 5 << 20)
    large = tmp_path / "large"
    large.write_bytes(CONTENT * 11)
    with large.open("rb") as file:
        s3.upload(bucket.bucket, "large", file)
    assert sum("partNumber=" in path for _, path in s3_proxy.requests) == 3
    assert s3.read(bucket.bucket, "large") == large.read_bytes()


def test_an_upload_that_fails_leaves_no_parts(
    bucket: S3Path, s3_proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_PART_BYTES", 5 << 20)
    large = tmp_path / "large"
    large.write_bytes(CONTENT * 11)
    s3_proxy.faults = [Fault("error_500", "PUT", "partNumber=2", times=99)]
    with (
        large.open("rb") as file,
        pytest.raises(StorageError, match=r"500 InternalError in 3 tries"),
    ):
        s3.upload(bucket.bucket, "large", file)
    client = boto3.client("s3")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket.bucket)
    assert list(s3.list_objects(bucket.bucket, "")) == []


def test_parts_of_a_killed_upload_are_dropped(bucket: S3Path) -> None:
    client = boto3.client("s3")
    for key in ("out/clips/shard", "elsewhere/shard"):
        client.create_multipart_upload(Bucket=bucket.bucket, Key=key)
    s3.abort_uploads(bucket.bucket, "out/")
    left = client.list_multipart_uploads(Bucket=bucket.bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == ["elsewhere/shard"]


def test_longer_trouble_is_told_of_once(
    bucket: S3Path,
    s3_proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    s3_proxy.faults = [Fault("slow_down", "GET", bucket.bucket, times=3)]
    assert list(s3.list_objects(bucket.bucket, "")) == []
    assert capsys.readouterr().err == ""
    s3_proxy.faults = [Fault("slow_down", "GET", bucket.bucket, times=6)]
    assert list(s3.list_objects(bucket.bucket, "")) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{s3_proxy.url} answers 503 (try 4 of 7); asking again"


def put(bucket: str) -> None:
    s3.put(bucket, "object", CONTENT)


def get(bucket: str) -> None:
    assert s3.read(bucket, "object") == CONTENT


def listing(bucket: str) -> None:
    assert [item.key for item in s3.list_objects(bucket, "")] == ["object"]


@pytest.mark.parametrize(
    ("kind", "method", "action"),
    [
        ("error_500", "GET", get),
        ("error_500", "PUT", put),
        ("slow_down", "GET", listing),
        ("slow_down", "PUT", put),
        ("delay", "GET", get),
        ("cut_short", "GET", get),
        ("cut_short", "GET", listing),
    ],
)
def test_transient_faults_are_retried_and_lasting_ones_explained(
    bucket: S3Path,
    s3_proxy: FaultyProxy,
    kind: Kind,
    method: str,
    action: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(bucket.bucket)
    s3_proxy.forget()
    if kind == "delay":
        monkeypatch.setenv("HUETRACK_S3_TIMEOUT_S", "2")
    fault = Fault(kind, method, bucket.bucket, times=1, seconds=2.5)
    s3_proxy.faults = [fault]
    action(bucket.bucket)
    assert fault.times == 0
    if kind == "delay":
        return  # a lasting one takes three times the timeout
    fault.times = 99
    with pytest.raises(StorageError, match=r"(3 tries|broke off).*(check|run again)") as raised:
        action(bucket.bucket)
    assert 99 - fault.times == 3
    assert str(raised.value).startswith(f"s3://{bucket.bucket}")
    assert len(str(raised.value).splitlines()) == 1


def test_a_download_starts_again_from_an_empty_file(bucket: S3Path, s3_proxy: FaultyProxy) -> None:
    put(bucket.bucket)
    s3_proxy.faults = [Fault("cut_short", "GET", "object", times=2)]
    file = io.BytesIO()
    s3.download(bucket.bucket, "object", file)
    assert file.tell() == 0
    assert file.getvalue() == CONTENT


def test_missing_credentials(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="no AWS credentials were found; set AWS_ACCESS_KEY_ID"):
        put(bucket.bucket)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY)
    with pytest.raises(StorageError, match="Partial credentials found in env, missing: AWS_SECRET"):
        put(bucket.bucket)


def test_a_public_bucket_needs_no_credentials(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket=bucket.bucket, Key="object", Body=CONTENT, ACL="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "1")
    get(bucket.bucket)
    with s3.arrow_filesystem().open_input_stream(f"{bucket.bucket}/object") as file:
        assert file.read() == CONTENT


def test_pyarrow_finds_the_same_server(bucket: S3Path) -> None:
    filesystem = s3.arrow_filesystem()
    with filesystem.open_output_stream(f"{bucket.bucket}/a/object") as file:
        file.write(CONTENT)
    assert s3.read(bucket.bucket, "a/object") == CONTENT
    assert S3_SECRET_KEY.encode() not in pickle.dumps(filesystem)
    with open_binary(bucket / "a" / "object") as opened:
        opened.seek(1000)
        assert opened.read(100) == CONTENT[1000:1100]


def test_a_missing_bucket(bucket: S3Path) -> None:
    for action in (put, get, listing):
        with pytest.raises(StorageError, match="there is no bucket no-such-bucket at http://127"):
            action("no-such-bucket")


def test_an_endpoint_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET_KEY)
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:9 does not answer.*AWS_ENDPOINT"):
        put("bucket")


@pytest.mark.parametrize(
    ("name", "value", "cause"),
    [
        ("AWS_PROFILE", "nobody", "profile .nobody. could not be found"),
        ("AWS_ENDPOINT_URL", "nonsense", "Invalid endpoint"),
        ("AWS_MAX_ATTEMPTS", "few", "AWS_MAX_ATTEMPTS few must be"),
        ("HUETRACK_S3_TIMEOUT_S", "0", "HUETRACK_S3_TIMEOUT_S 0 and"),
    ],
)
def test_settings_that_make_no_sense(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, cause: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises((StorageError, ValueError), match=cause):
        put(bucket.bucket)
