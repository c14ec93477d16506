"""What a user reads when S3 refuses. The answers are those of Amazon's documentation of its error codes."""

import pytest
from botocore.exceptions import ClientError

from pipelines import s3
from pipelines.s3 import StorageError
from pipelines.s3_errors import cause_and_remedy
from pipelines.s3_path import S3Path
from tests.s3_faults import Fault, FaultyProxy

ENDPOINT = "https://s3.us-east-1.amazonaws.com"


def told(code: str, status: int, operation: str, headers: dict[str, str] | None = None) -> str:
    answer = {
        "Error": {"Code": code, "Message": "AKIAEXAMPLEKEY is not allowed", "Region": "eu-west-1"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return cause_and_remedy(ClientError(answer, operation), "films", ENDPOINT, attempts=8)


@pytest.mark.parametrize(
    ("code", "status", "operation", "cause", "remedy"),
    [
        ("AccessDenied", 403, "ListObjectsV2", "access denied", "s3:ListBucket on bucket films"),
        ("AccessDenied", 403, "PutObject", "access denied", "s3:PutObject on bucket films"),
        ("403", 403, "GetObject", "access denied", "s3:GetObject on bucket films"),
        ("NoSuchBucket", 404, "GetObject", f"no bucket films at {ENDPOINT}", "check its name"),
        ("PermanentRedirect", 301, "GetObject", "region eu-west-1", "AWS_DEFAULT_REGION=eu-west-1"),
        (
            "AuthorizationHeaderMalformed",
            400,
            "PutObject",
            "region eu-west-1",
            "AWS_DEFAULT_REGION",
        ),
        ("InvalidAccessKeyId", 403, "GetObject", "does not accept", "AWS_ACCESS_KEY_ID"),
        ("ExpiredToken", 400, "GetObject", "does not accept", "renew"),
        ("RequestTimeTooSkewed", 403, "GetObject", "clock is wrong", "set the clock"),
        ("SlowDown", 503, "PutObject", "503 SlowDown in 8 tries", "fewer --workers"),
        ("InternalError", 500, "GetObject", "500 InternalError in 8 tries", "run again"),
        ("EntityTooLarge", 400, "PutObject", "400 EntityTooLarge", "PutObject"),
    ],
)
def test_cause_and_remedy(code: str, status: int, operation: str, cause: str, remedy: str) -> None:
    line = told(code, status, operation)
    assert cause in line
    assert remedy in line
    assert len(line.splitlines()) == 1
    assert "AKIA" not in line


def test_the_region_that_s3_names_counts() -> None:
    line = told("PermanentRedirect", 301, "GetObject", {"x-amz-bucket-region": "ap-south-1"})
    assert "set AWS_DEFAULT_REGION=ap-south-1" in line


def test_a_refusal_is_not_tried_again(bucket: S3Path, s3_proxy: FaultyProxy) -> None:
    s3_proxy.faults = [Fault("denied", "GET", bucket.bucket, times=99)]
    with pytest.raises(StorageError, match=r"access denied.*s3:ListBucket"):
        list(s3.list_objects(bucket.bucket, "videos/"))
    assert len(s3_proxy.requests) == 1


def test_a_bucket_elsewhere_names_its_region(bucket: S3Path, s3_proxy: FaultyProxy) -> None:
    s3_proxy.faults = [Fault("elsewhere", "GET", bucket.bucket, times=99)]
    with pytest.raises(
        StorageError, match="is in region eu-west-1; set AWS_DEFAULT_REGION=eu-west-1"
    ):
        s3.read(bucket.bucket, "object")
