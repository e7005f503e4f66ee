"""Send a message to a webhook without being led astray: by its address, its name server, or its answer.

The name is resolved once, every address that it has must be public, and the
connection goes to the address that was judged. No redirect is followed, no
proxy of the environment used, and nothing of the answer is told but its status.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import httpx

from edurise_backup.errors import BackupError, ConfigError, ForbiddenError, TransientError, UnreachableError
from edurise_backup.model.database import Secret

SECONDS = 10.0
"""How long the connection, and each part of the exchange, may take."""
SCHEMES = {
    "https": ("https", "json"),
    "http": ("http", "json"),
    "jsons": ("https", "json"),
    "json": ("http", "json"),
    "xmls": ("https", "xml"),
    "xml": ("http", "xml"),
    "forms": ("https", "form"),
    "form": ("http", "form"),
}
"""The schemes of a webhook's URL (Apprise's words, too): how it is reached, and what is sent."""

Resolve = Callable[[str, int], Sequence[str]]
"""Gives the addresses of a host; raises OSError."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
_SAFE = "nothing was sent"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook's URL, taken apart."""

    scheme: str
    format: str
    host: str
    port: int
    path: Secret
    """With the query."""
    login: tuple[str, Secret] | None
    headers: dict[str, Secret]


def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def parse_webhook(url: Secret) -> Webhook:
    """Take the URL apart; `?+NAME=VALUE` is a header. Raises ConfigError, which shows nothing of it."""
    try:
        parts = urlsplit(url.reveal().strip())
        scheme, format_ = SCHEMES[parts.scheme.lower()]
        host, port = parts.hostname, parts.port or (443 if scheme == "https" else 80)
        if not host:
            raise ValueError
    except (KeyError, ValueError):
        raise ConfigError(
            "the URL of a webhook is not one", safe=_SAFE, hint="write https://HOST/PATH into the target's url_file"
        ) from None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    marks = ("+", " ")  # in a query a plus sign stands for a space
    headers = {name[1:]: Secret(value) for name, value in pairs if name.startswith(marks)}
    query = urlencode([(name, value) for name, value in pairs if not name.startswith(marks)])
    login = (unquote(parts.username), Secret(unquote(parts.password or ""))) if parts.username else None
    return Webhook(
        scheme, format_, host, port, Secret((parts.path or "/") + (f"?{query}" if query else "")), login, headers
    )


def allowed_address(host: str, port: int, *, allow_private: bool, resolver: Resolve) -> str:
    """Return the one address to connect to; raises ForbiddenError for a place that is not public, UnreachableError."""
    if _NUMERIC.fullmatch(host) and not _is_address(host):
        raise _forbidden("its host is a number in disguise")
    try:
        addresses = [host] if _is_address(host) else list(resolver(host, port))
    except (OSError, UnicodeError) as error:
        raise UnreachableError(
            "the host of the target has no address",
            safe=_SAFE,
            hint="check the URL's host, and this host's name server",
        ) from error
    if not addresses:
        raise UnreachableError("the host of the target has no address", safe=_SAFE, hint="check the URL's host")
    if not allow_private and not all(map(is_public, addresses)):
        raise _forbidden("its host is, or is also, an address that is not public")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is of the public internet: not this host's, a private network's, a link's, a cloud's metadata.

    An IPv6 address that carries an IPv4 one is judged by that.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if int(parsed) >> 32 == 0:  # ::a.b.c.d
            return False
        if parsed.is_site_local or parsed in _LOCAL_NAT64:
            return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def send_webhook(
    hook: Webhook, content: dict[str, str], *, allow_private: bool = False, resolver: Resolve = resolve
) -> None:
    """Send the content as the URL says; raises ForbiddenError, UnreachableError, TransientError, BackupError."""
    if hook.scheme == "http" and not allow_private:
        raise ForbiddenError(
            "the target's URL is not https, so anybody on the way could read it",
            safe=_SAFE,
            hint="use https; within a network of your own set allow_private = true for the target",
        )
    address = allowed_address(hook.host, hook.port, allow_private=allow_private, resolver=resolver)
    literal = f"[{address}]" if ":" in address else address
    body, kind = _body(hook.format, content)
    headers = {name: value.reveal() for name, value in hook.headers.items()}
    headers |= {"Host": _host_header(hook), "Content-Type": kind, "User-Agent": "edurise-backup"}
    login = (hook.login[0], hook.login[1].reveal()) if hook.login else None
    try:
        with (
            httpx.Client(trust_env=False, follow_redirects=False, timeout=SECONDS, auth=login) as client,
            client.stream(
                "POST",
                f"{hook.scheme}://{literal}:{hook.port}{hook.path.reveal()}",
                content=body,
                headers=headers,
                extensions={"sni_hostname": hook.host},
            ) as response,
        ):
            status = response.status_code  # the body is not even read
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        # `from None`: the exception's text may hold the URL
        raise UnreachableError(
            f"the target does not answer ({type(error).__name__})",
            safe="the message waits and is sent again",
            hint="check the URL in the target's url_file, the network, and the certificate of its server",
        ) from None
    _judge(status)


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise ForbiddenError(
            f"the target answers with a redirect (HTTP {status}), which is not followed",
            safe="the message was sent to nobody else",
            hint="write the final address into the target's url_file",
        )
    if status in (408, 429) or status >= 500:
        raise TransientError(
            f"the target could not take the message (HTTP {status})",
            safe="it is sent again",
            hint="wait, or ask its owner",
        )
    raise BackupError(
        f"the target refused the message (HTTP {status})",
        safe="it is sent again",
        hint="check the URL and the credentials in the target's url_file",
    )


def _body(format_: str, content: dict[str, str]) -> tuple[bytes, str]:
    match format_:
        case "json":
            return json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace"), "application/json"
        case "form":
            return urlencode(content, errors="backslashreplace").encode(), "application/x-www-form-urlencoded"
        case _:
            inner = "".join(f"<{name}>{escape(_xml_text(text))}</{name}>" for name, text in content.items())
            head = '<?xml version="1.0" encoding="UTF-8"?>'
            return f"{head}<alarm>{inner}</alarm>".encode("utf-8", "backslashreplace"), "application/xml"


def _xml_text(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _host_header(hook: Webhook) -> str:
    host = f"[{hook.host}]" if ":" in hook.host else hook.host
    return host if hook.port == (443 if hook.scheme == "https" else 80) else f"{host}:{hook.port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _forbidden(why: str) -> ForbiddenError:
    return ForbiddenError(
        f"the target may not be reached: {why}",
        safe=_SAFE,
        hint="use a public address, or set allow_private = true for the target if that place is meant",
    )
