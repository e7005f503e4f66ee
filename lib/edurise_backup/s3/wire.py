"""One bucket's server, asked through boto3: the only module that knows it.

boto3 is imported when the first request is made: whoever works on a directory
does not wait for it. It never repeats a request by itself (`perseverance` does),
computes no checksums of its own (what is sent carries ours), and verifies TLS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from edurise_backup.errors import (
    BackupError,
    DamageError,
    InputError,
    NotFoundError,
    TransientError,
    UnreachableError,
    UnsupportedVersionError,
)
from edurise_backup.model.location import S3Access, S3Place
from edurise_backup.model.traffic import Count, Traffic
from edurise_backup.s3.refusals import Refusal, server_time, translated
from edurise_backup.s3.traffic import Meter

Answer = Mapping[str, Any]
_CONNECTIONS = 32
_UNTRUSTED = ("certificate", "wrong_version", "wrong version", "record layer", "packet length", "no such file")
"""Words of TLS errors that stay; others come from connections that were cut."""


class Wire:
    """Sends requests, each once, and counts them; safe from any number of threads."""

    def __init__(self, place: S3Place, access: S3Access, meter: Meter | None = None) -> None:
        """Raises InputError for plain http that nobody allowed."""
        refuse_plaintext(place, access)
        self.place = place
        self.answered = False
        """Whether the server has ever answered, if only with an error."""
        self._access = access
        self._meter = meter or Meter()
        self._guard = threading.Lock()
        self._client: Any = None
        self._server_time: datetime | None = None

    def ask(self, operation: str, *, name: str = "", **parameters: object) -> Answer:
        """Send one request about the object `name` (or the bucket); a body is read whole, as `Body`.

        Raises what `refusals` says, TransientError for what may work later.
        """
        if name:
            parameters["Key"] = self.place.key(name)
        return self._send(operation, name, parameters, None)

    def ask_range(self, offset: int, length: int, parameters: Mapping[str, object]) -> Answer:
        """Get `length` bytes of an object from `offset`, fewer at its end; never more of them come into memory."""
        wanted = f"bytes={offset}-{offset + length - 1}"
        return self._send("GetObject", "", {**parameters, "Range": wanted}, length)

    def _send(self, operation: str, name: str, parameters: Mapping[str, object], most: int | None) -> Answer:
        """Send a request; `most`: a server that answers with more bytes has not understood the range."""
        method = getattr(self._connected(), _method(operation))
        named = {"Bucket": self.place.bucket, **parameters}
        return self._translating(operation, name, lambda: self._read(operation, method(**named), most))

    def traffic(self) -> Traffic:
        """Return what was asked so far."""
        return self._meter.read()

    def _read(self, operation: str, answer: dict[str, Any], most: int | None) -> Answer:
        self.answered = True
        if "Body" in answer:
            with answer["Body"] as body:
                answer["Body"] = body.read(most)
                more = most is not None and bool(body.read(1))
            self._meter.add(operation, Count(received=len(answer["Body"])))
            if most is not None and len(answer["Body"]) < min(most, int(answer["ContentLength"])):
                raise TransientError(f"{self.place.address}: an answer broke off")  # read(n) does not mind that
            if more:
                raise UnsupportedVersionError(
                    f"{self.place.endpoint} does not keep to ranges: it sends more than it was asked for",
                    safe="nothing of it was kept",
                    hint="use a server that knows ranges: a large object would have to fit into memory",
                )
        return answer

    def _translating(self, operation: str, name: str, call: Callable[[], Answer]) -> Answer:
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        where = self.place.address
        try:
            return call()
        except boto.ClientError as error:
            self.answered = True
            raise translated(Refusal.of(error.response), self.place, name, operation) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            raise _no_credentials(self.place) from error
        except (boto.CredentialRetrievalError, boto.TokenRetrievalError, boto.UnauthorizedSSOTokenError) as error:
            raise UnreachableError(
                f"the credential for {where} cannot be had", safe="nothing was changed", hint=f"{error}"
            ) from error
        except boto.SSLError as error:
            if any(word in str(error).lower() for word in _UNTRUSTED):
                raise _untrusted(self.place, error) from error
            raise TransientError(f"{where}: the TLS connection broke off") from error
        except FileNotFoundError as error:
            raise _untrusted(self.place, error) from error
        except (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, HTTPError, OSError) as error:
            raise TransientError(f"{where} did not answer {operation} whole ({type(error).__name__})") from error
        except (ResponseParserError, ValueError, TypeError, KeyError) as error:
            raise TransientError(f"{where}: the answer to {operation} makes no sense") from error
        except boto.BotoCoreError as error:
            raise BackupError(f"{where}: {operation} cannot be asked: {error}") from error

    # Making the client

    def _connected(self) -> Any:
        with self._guard:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        import boto3
        from botocore import exceptions as boto
        from botocore.config import Config

        access, place = self._access, self.place
        if access.ca_file and not Path(access.ca_file).is_file():
            raise InputError(
                f"there is no {access.ca_file}", safe="nothing was done", hint=f"check {place.table}.ca_file"
            )
        keys = read_keys(access, place.table)
        try:
            session = boto3.Session(profile_name=access.profile or None, **keys)
            if session.get_credentials() is None:
                raise _no_credentials(place)
            client = session.client(
                "s3",
                endpoint_url=None if place.amazon and not place.region else place.endpoint,
                region_name=access.region or place.region or session.region_name or "us-east-1",
                verify=access.ca_file or None,
                config=Config(
                    connect_timeout=access.connect_seconds,
                    read_timeout=access.answer_seconds,
                    max_pool_connections=_CONNECTIONS,
                    retries={"mode": "standard", "total_max_attempts": 1},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    signature_version="s3v4",
                    s3={"addressing_style": "auto" if place.amazon else "path"},
                ),
            )
        except boto.ProfileNotFound as error:
            raise InputError(
                f"there is no profile {access.profile or str(error.kwargs.get('profile', ''))!r}",
                safe="nothing was done",
                hint=f"check {place.table}.profile or AWS_PROFILE, and AWS_SHARED_CREDENTIALS_FILE",
            ) from error
        except boto.PartialCredentialsError as error:
            raise _no_credentials(place) from error
        except (boto.BotoCoreError, ValueError) as error:
            raise InputError(
                f"{place.address} cannot be asked: {error}",
                safe="nothing was done",
                hint="check the location, the region, and the files that AWS_CONFIG_FILE and others name",
            ) from error
        client.meta.events.register("before-send.s3", self._count_sent)
        client.meta.events.register("response-received.s3", self._note_answer)
        return client

    def _count_sent(self, request: Any, event_name: str, **_: object) -> None:
        body = request.body
        sent = len(body) if isinstance(body, bytes | bytearray | str) else int(request.headers.get("Content-Length", 0))
        self._meter.add(event_name.rpartition(".")[2], Count(requests=1, sent=sent))

    def _note_answer(self, event_name: str, response_dict: Any = None, **_: object) -> None:
        if response_dict is not None:
            headers = {name.lower(): value for name, value in dict(response_dict.get("headers", {})).items()}
            self._server_time = server_time(headers) or self._server_time
            body = response_dict.get("body")
            if isinstance(body, bytes) and body:
                self._meter.add(event_name.rpartition(".")[2], Count(received=len(body)))

    def time_of_last_answer(self) -> datetime | None:
        """Return what the server's clock said when it last answered."""
        return self._server_time


def look(wire: Wire, name: str) -> Answer:
    """Return what HEAD says of an object; raises NotFoundError, and what is wrong when the server refuses.

    An answer to HEAD has no body: only one to GET says why it is an error.
    """
    try:
        return wire.ask("HeadObject", name=name)
    except (NotFoundError, TransientError):
        raise
    except BackupError:
        with suppress(DamageError):  # there is no first byte
            wire.ask("GetObject", name=name, Range="bytes=0-0")
        return wire.ask("HeadObject", name=name)  # GET has made boto3 find out the bucket's region


def refuse_plaintext(place: S3Place, access: S3Access) -> None:
    """Raise InputError when the place is asked in plain http and nobody has allowed that."""
    if place.plaintext and not access.allow_plaintext:
        raise InputError(
            f"{place.address} would be asked over plain http",
            safe="nothing was sent",
            hint=f"use https, or allow it: {place.table}.allow_plaintext = true, EDURISE_ALLOW_PLAINTEXT=1 for `repo`",
        )


def read_keys(access: S3Access, table: str = "repository") -> dict[str, str]:
    """Return the keys that files hold, by boto3's names; empty when no file is named. Raises InputError."""
    if not access.access_key_file and not access.secret_key_file:
        return {}
    if not access.access_key_file or not access.secret_key_file:
        raise InputError(
            "only one of the two keys of the object storage is named",
            safe="nothing was done",
            hint=f"set both {table}.access_key_file and {table}.secret_key_file",
        )
    return {
        "aws_access_key_id": _first_line(Path(access.access_key_file)),
        "aws_secret_access_key": _first_line(Path(access.secret_key_file)),
    }


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text("utf-8").strip().splitlines()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", safe="nothing was done", hint="check the table's *_key_file"
        ) from error
    except UnicodeDecodeError:  # its text would hold a part of the secret
        raise InputError(f"{path} is not text", safe="nothing was done", hint="write the key into it") from None
    if not lines:
        raise InputError(f"{path} is empty", safe="nothing was done", hint="write the key into it")
    return lines[0].strip()


def _no_credentials(place: S3Place) -> UnreachableError:
    return UnreachableError(
        f"there is no credential for {place.address}",
        safe="nothing was changed",
        hint=f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (both), or a profile, or {place.table}.access_key_file "
        "and secret_key_file",
    )


def _untrusted(place: S3Place, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"the TLS connection to {place.address} cannot be trusted: {error}",
        safe="nothing was sent",
        hint=f"name the authority that signed the server's certificate: AWS_CA_BUNDLE or {place.table}.ca_file; "
        "and see that the port speaks TLS",
    )


def _method(operation: str) -> str:
    """Return boto3's name of an operation: `PutObject` is `put_object`."""
    words = operation.replace("V2", "_v2")
    return "".join(f"_{char.lower()}" if char.isupper() and at else char.lower() for at, char in enumerate(words))
