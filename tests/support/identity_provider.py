"""An identity provider for tests: OpenID Connect's authorization code flow on loopback, as strict as a real one.

It knows one client, its secret and its one address to come back to; a code is good once, with the verifier of its
challenge (RFC 7636). `person` is who sits before the browser: the claims of the next sign-in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from flows.processes import LOOPBACK

CLIENT = "edurise-dashboard"
KEY_ID = "of-the-test"


@dataclass
class IdentityProvider:
    """Who may sign in, and what was asked for."""

    back_to: str
    """The only address that people are sent back to."""
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    person: Mapping[str, object] = field(default_factory=dict)
    published: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    """Its public half is what the world verifies by."""
    signing: rsa.RSAPrivateKey | None = None
    """What identity tokens are signed with; None: the published one."""
    nonce: str | None = None
    """What is said in place of the nonce that was asked for."""
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    port: int = 0

    @property
    def issuer(self) -> str:
        """How the provider names itself."""
        return f"http://{LOOPBACK}:{self.port}"

    def metadata(self) -> dict[str, object]:
        """Return what a client learns first (OpenID Connect Discovery 1.0, section 3)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def keys(self) -> dict[str, object]:
        """Return the public key as a set (RFC 7517)."""
        numbers = self.published.public_key().public_numbers()
        return {
            "keys": [
                {
                    "kty": "RSA",
                    "kid": KEY_ID,
                    "use": "sig",
                    "alg": "RS256",
                    "n": _number(numbers.n),
                    "e": _number(65537),
                }
            ]
        }

    def authorize(self, asked: dict[str, str]) -> str | None:
        """Return where the browser goes with its code, or None for a request that is refused."""
        fits = asked.get("client_id") == CLIENT and asked.get("redirect_uri") == self.back_to
        if not fits or asked.get("response_type") != "code" or "openid" not in asked.get("scope", "").split():
            return None
        code = secrets.token_urlsafe(16)
        self.asked[code] = asked
        return f"{self.back_to}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, given: dict[str, str], client: tuple[str, str]) -> dict[str, object] | None:
        """Return the tokens for a code, or None for one that is not known, used, or somebody else's."""
        asked = self.asked.pop(given.get("code", ""), None)
        if asked is None or client != (CLIENT, self.client_secret) or given.get("redirect_uri") != self.back_to:
            return None
        if "code_challenge" in asked:
            digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
            if _text(digest) != asked["code_challenge"]:
                return None
        now = int(datetime.now(UTC).timestamp())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce or asked.get("nonce"),
            **self.person,
        }
        return {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "id_token": self._signed(claims)}

    def _signed(self, claims: Mapping[str, object]) -> str:
        parts = [{"alg": "RS256", "typ": "JWT", "kid": KEY_ID}, claims]
        text = ".".join(_text(json.dumps(part).encode()) for part in parts)
        key = self.signing or self.published
        return f"{text}.{_text(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@contextmanager
def identity_provider(back_to: str) -> Iterator[IdentityProvider]:
    """Run a provider inside the `with` block."""
    provider = IdentityProvider(back_to)
    server = ThreadingHTTPServer((LOOPBACK, 0), _handler(provider))
    provider.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, name="identity provider", daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(provider: IdentityProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if place.path == "/.well-known/openid-configuration":
                self.answer(provider.metadata())
            elif place.path == "/keys":
                self.answer(provider.keys())
            elif place.path == "/authorize" and (there := provider.authorize(_single(place.query))):
                self.send_response(302)
                self.send_header("Location", there)
                self.end_headers()
            else:
                self.send_error(400)

        def do_POST(self) -> None:
            given = _single(self.rfile.read(int(self.headers["Content-Length"])).decode())
            client = (given.get("client_id", ""), given.get("client_secret", ""))
            kind, _, basic = self.headers.get("Authorization", "").partition(" ")
            if kind == "Basic":
                name, _, secret = base64.b64decode(basic).decode().partition(":")
                client = (name, secret)
            tokens = provider.token(given, client) if self.path == "/token" else None
            self.answer(tokens or {"error": "invalid_grant"}, 200 if tokens else 400)

        def answer(self, told: Mapping[str, object], status: int = 200) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: tests' output is for failures."""

    return Handler


def _single(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
