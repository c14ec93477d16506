"""What went wrong with S3, and what to do about it: botocore's exceptions in a user's words.

Nothing secret is in these lines: neither keys, nor tokens, nor signed addresses.
"""

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    SSOError,
)

_SET_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or AWS_NO_SIGN_REQUEST=1 for a "
    "public bucket"
)
_WRONG_KEYS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthFailure"}
)
_DENIED = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"})
_ELSEWHERE = frozenset(
    {
        "PermanentRedirect",
        "301",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)
_PERMISSION = {
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "GetObject": "s3:GetObject",
    "DeleteObjects": "s3:DeleteObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}


def cause_and_remedy(error: Exception, bucket: str, endpoint_url: str, attempts: int) -> str:
    """One line: the cause, and what to change."""
    if isinstance(error, ClientError):
        return _answer(error, bucket, endpoint_url, attempts)
    if isinstance(error, NoCredentialsError):
        return f"no AWS credentials were found; {_SET_CREDENTIALS}"
    if isinstance(error, CredentialRetrievalError | SSOError):
        return f"the AWS credentials cannot be loaded ({type(error).__name__}); {_SET_CREDENTIALS}"
    if isinstance(error, ConnectionError | HTTPClientError):
        return (
            f"{endpoint_url} does not answer ({type(error).__name__}, {attempts} tries); check "
            "AWS_ENDPOINT_URL and the network"
        )
    if isinstance(error, ParamValidationError):
        return f"S3 takes no bucket or key of this name (bucket {bucket!r})"
    return f"the request failed ({type(error).__name__}, {attempts} tries); run again"


def _answer(error: ClientError, bucket: str, endpoint_url: str, attempts: int) -> str:
    """For an answer that S3 gave."""
    code = str(error.response["Error"].get("Code", ""))
    metadata = error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return f"there is no bucket {bucket} at {endpoint_url}; check its name and AWS_ENDPOINT_URL"
    if code in _ELSEWHERE:
        region = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region")
        region = region or error.response["Error"].get("Region")
        where = f"region {region}" if region else "another region"
        return (
            f"bucket {bucket} is in {where}; set AWS_DEFAULT_REGION{f'={region}' if region else ''}"
        )
    if code in _WRONG_KEYS:
        return f"S3 does not accept the AWS credentials ({code}); renew them: {_SET_CREDENTIALS}"
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is wrong, so S3 refuses its signatures; set the clock"
    if code in _DENIED or status == 403:
        needed = _PERMISSION.get(error.operation_name, "s3:PutObject")
        return f"access denied ({code}); the credentials need {needed} on bucket {bucket}"
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
        return (
            f"S3 answered {status} {code} in {attempts} tries; run again, with fewer --workers if it "
            "is overloaded"
        )
    return f"S3 answered {status} {code} to {error.operation_name}"
