"""What goes wrong with a bucket, in the library's words: what happened, what is safe, what to do.

Servers name errors alike but not the same, and an answer to HEAD has no name at
all, only a status. No message repeats what could be a secret: of the server's
own words only the short one is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from edurise_backup.errors import (
    BackupError,
    ConflictError,
    DamageError,
    InputError,
    NotFoundError,
    SpaceError,
    ThrottledError,
    TransientError,
    UnreachableError,
    UnsupportedVersionError,
)
from edurise_backup.model.location import S3Place

MANGLED = "other bytes came than were sent"
_MANGLED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_LONGEST = 200
_THROTTLES = {"SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
_THROTTLES |= {"TooManyRequests", "BandwidthLimitExceeded", "RequestThrottled", "503", "429"}
_PASSING = {"InternalError", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict"}
_PASSING |= {"IncompleteBody", "500", "502", "504", "408", "409", "460", "499"}
_FULL = {
    "QuotaExceeded",
    "InsufficientStorage",
    "NotEnoughSpace",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
}
_FULL |= {"EntityTooLarge", "StorageQuotaExceeded", "507"}  # no part is larger than servers take
_NOT_THERE = {
    "NoSuchKey": "",
    "404": "",
    "NotFound": "",
    "NoSuchUpload": "upload of these parts any more",
    "NoSuchLifecycleConfiguration": "lifecycle rule",
    "ObjectLockConfigurationNotFoundError": "object lock",
}
"""What is not there, where it is not the object itself."""
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_WRONG_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_WRONG_REGION |= {"TemporaryRedirect", "301", "307"}
_FORBIDDEN = {"AccessDenied", "AllAccessDisabled", "Forbidden", "AccountProblem", "NotSignedUp", "403", "401"}
_NOTHING = "nothing was changed"
_PUBLISHED = "everything that was published before"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's answer that is an error."""

    code: str
    message: str
    status: int
    headers: Mapping[str, str]
    region: str = ""

    @classmethod
    def of(cls, response: Mapping[str, Any]) -> Refusal:
        """Return what botocore's ClientError has read."""
        error, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
        headers = {str(name).lower(): str(value) for name, value in meta.get("HTTPHeaders", {}).items()}
        text = "".join(char if char.isprintable() else " " for char in str(error.get("Message", "")))
        region = str(error.get("Region", "") or headers.get("x-amz-bucket-region", ""))
        code = str(error.get("Code", "")) or str(meta.get("HTTPStatusCode", ""))
        return cls(code, text[:_LONGEST], int(meta.get("HTTPStatusCode", 0)), headers, region)


def translated(refusal: Refusal, place: S3Place, name: str, operation: str) -> BackupError:
    """Return the error that says what the server's refusal of `operation` on the object `name` means."""
    where = f"{name} in {place.address}" if name else place.address
    code = refusal.code
    for known in (_of_objects, _of_credentials, _of_servers):
        error = known(refusal, place, where, operation)
        if error is not None:
            return error
    said = f": {refusal.message}" if refusal.message else ""
    return BackupError(
        f"{where}: the server refuses {operation} with {code} ({refusal.status}){said}",
        safe=_PUBLISHED,
        hint="`edurise-backup repo probe` shows what this server can do",
    )


def _of_objects(refusal: Refusal, place: S3Place, where: str, operation: str) -> BackupError | None:
    match refusal.code:
        case "NoSuchBucket":
            return NotFoundError(
                f"there is no bucket {place.bucket!r} at {place.endpoint}",
                safe=_NOTHING,
                hint="check the location, or make the bucket with the provider's tools; it is never made here",
            )
        case code if code in _NOT_THERE:
            return NotFoundError(f"there is no {_NOT_THERE[code] or where}")
        case "NotImplemented" | "501":
            return UnsupportedVersionError(
                f"{place.endpoint} does not know {operation}, or a header of it",
                safe=_PUBLISHED,
                hint="`edurise-backup repo probe` shows what this server can do",
            )
        case "PreconditionFailed" | "412":
            return ConflictError(f"{where} exists already")
        case "InvalidRange" | "416":
            return DamageError(f"{where} ends before what was to be read")
        case "InvalidObjectState":
            return InputError(
                f"{where} was moved to an archive and cannot be read now",
                safe="it is not lost",
                hint="restore it with the provider's tools, and take away the lifecycle rule that moves objects",
            )
        case _:
            return None


def _of_credentials(refusal: Refusal, place: S3Place, where: str, operation: str) -> BackupError | None:
    code = refusal.code
    if code == "InvalidAccessKeyId":
        return _denied(place, "knows no such access key", "check the access key id, and that it is not deactivated")
    if code == "SignatureDoesNotMatch":
        return _denied(
            place,
            "refuses the signature: the secret key is not the one of this access key, or the access key is unknown",
            "copy both keys anew (a line end or blank counts); a proxy that changes requests breaks signatures, too",
        )
    if code in _EXPIRED:
        return _denied(
            place, "says that the session token has expired", "get a new session token, then run the same command again"
        )
    if code == "InvalidToken":
        return _denied(
            place,
            "refuses the session token",
            "set AWS_SESSION_TOKEN to the one that belongs to these keys, or unset it",
        )
    if code in ("RequestTimeTooSkewed", "RequestInTheFuture"):
        return _denied(place, f"refuses this machine's clock{_skew(refusal)}", "set this machine's clock by NTP")
    if code in _WRONG_REGION or (code == "400" and refusal.region):
        region = refusal.region or "another one (the server does not say which)"
        return UnreachableError(
            f"the bucket {place.bucket!r} at {place.endpoint} is in the region {region}",
            safe=_NOTHING,
            hint=f"set AWS_DEFAULT_REGION or {place.table}.region to {refusal.region or 'its region'}",
        )
    if code in _FORBIDDEN:
        return _forbidden(refusal, where, operation)
    return None


def _denied(place: S3Place, what: str, hint: str) -> UnreachableError:
    return UnreachableError(f"the server of {place.address} {what}", safe=_PUBLISHED, hint=hint)


def _forbidden(refusal: Refusal, where: str, operation: str) -> BackupError:
    said = f": {refusal.message}" if refusal.message else ""
    if "quota" in refusal.message.lower():
        return _full(where, refusal)
    needs = {
        "PutObject": "s3:PutObject: it may only read",
        "DeleteObject": "s3:DeleteObject (a writer that may not delete needs it below locks/ alone), "
        "or the object is locked until its retention ends",
        "HeadObject": "s3:GetObject, or without s3:ListBucket the object is not there",
        "GetObject": "s3:GetObject, or without s3:ListBucket the object is not there",
        "ListObjectsV2": "s3:ListBucket",
    }
    return UnreachableError(
        f"the credential may not do {operation} on {where}{said}",
        safe=_PUBLISHED,
        hint=f"it lacks {needs.get(operation, f's3:{operation}')}; docs/operations/object-storage.md has policies",
    )


def _of_servers(refusal: Refusal, place: S3Place, where: str, operation: str) -> BackupError | None:
    code, status = refusal.code, refusal.status
    if code in _FULL or status == 507 or (status == 413 and "quota" in refusal.message.lower()):
        return _full(where, refusal)
    if code in _THROTTLES or status in (429, 503):
        return ThrottledError(f"{where}: the server asks for fewer requests ({code})")
    if code in _MANGLED:
        return TransientError(f"{where}: {MANGLED}, says the server ({code})")
    if code in _PASSING or status >= 500:
        return TransientError(f"{where}: the server failed to do {operation} ({code})")
    return None


def _full(where: str, refusal: Refusal) -> SpaceError:
    return SpaceError(
        f"no room left while writing {where}: {refusal.message or refusal.code}",
        safe=f"{_PUBLISHED}; the unfinished object is not there",
        hint="raise the quota or prune, then run the same command again: what was stored is not sent twice",
    )


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """Return the time that an answer's Date header tells, or None."""
    try:
        told = parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


def _skew(refusal: Refusal) -> str:
    theirs = server_time(refusal.headers)
    return f": its own says {theirs:%Y-%m-%d %H:%M:%S} UTC" if theirs else ""
