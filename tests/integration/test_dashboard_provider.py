"""Signing in with an identity provider: the dashboard's real server, a real round trip, no part of it replaced."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.postgres.connection import Address
from flows.processes import LOOPBACK, free_port
from tests.support.browser import Browser, dashboard
from tests.support.catalog import write_private
from tests.support.identity_provider import CLIENT, IdentityProvider, identity_provider
from tests.support.product import configure

ALICE = {"sub": "1", "email": "alice@school.org", "email_verified": True, "groups": ["staff", "backup-admins"]}
BOB = {"sub": "3", "email": "bob@school.org", "email_verified": True}
EVE = {"sub": "2", "email": "eve@school.org", "email_verified": True, "groups": ["staff"]}
GRANTS = """
[sign_in]
provider = "oidc"
[[sign_in.grant]]
claim = "groups"
value = "backup-admins"
roles = ["admin", "operator"]
[[sign_in.grant]]
claim = "email"
value = "bob@school.org"
roles = ["viewer"]
"""
SIGN_IN = ("EduRise Backup", ["Sign in"])


@dataclass(frozen=True)
class Site:
    """A dashboard, and the provider that it trusts."""

    port: int
    settings_path: Path
    provider: IdentityProvider

    def sign_in(self, browser: Browser) -> str:
        """Press the button, and go where it leads; return the address at which that ends."""
        return browser.follow(browser.open("", "Sign in").redirect)

    def trail(self) -> list[tuple[str, str, str]]:
        """Return who did what with which outcome, the oldest first."""
        with operations.open_catalog(load_settings(self.settings_path)) as catalog:
            return [(row.actor, row.action, row.outcome.value) for row in reversed(catalog.audit.newest())]


@pytest.fixture
def site(tmp_path: Path, catalog_database: Address) -> Iterator[Site]:
    settings_path = configure(tmp_path, catalog_database)
    settings_path.write_text(settings_path.read_text() + GRANTS)
    port = free_port()
    back_to = f"http://{LOOPBACK}:{port}/oauth2callback"
    with identity_provider(back_to) as provider:
        kept = tmp_path / "secrets.toml"
        write_private(
            kept,
            f"""[auth]
redirect_uri = "{back_to}"
cookie_secret = "{secrets.token_urlsafe(24)}"
client_id = "{CLIENT}"
client_secret = "{provider.client_secret}"
server_metadata_url = "{provider.issuer}/.well-known/openid-configuration"
""",
        )
        with dashboard(port, settings_path, tmp_path / "log", ["--secrets.files", str(kept)]):
            yield Site(port, settings_path, provider)


def shown_to(browser: Browser, page: str = "") -> tuple[str, list[str]]:
    """Return what a page says, and what it offers to press."""
    shown = browser.open(page)
    return shown.text, list(shown.buttons)


def test_the_provider_lets_in_whom_a_grant_names_and_the_trail_names_everybody_it_sent(site: Site) -> None:
    stranger = Browser(site.port)
    assert shown_to(stranger) == shown_to(stranger, "administration") == SIGN_IN

    site.provider.person = ALICE
    alice = Browser(site.port)
    assert site.sign_in(alice) == f"{alice.origin}/"
    text, offered = shown_to(alice)
    assert "**alice@school.org**" in text
    assert "Overview" in text
    assert "Sign out" in offered
    assert "rows follow each other" not in alice.open("administration").text  # before it is asked for
    assert "rows follow each other" in alice.open("administration", "Follow the chain now").text

    site.provider.person = BOB
    bob = Browser(site.port)
    site.sign_in(bob)
    for page in ("", "administration"):  # which a viewer does not have: the first page comes instead
        text, _ = shown_to(bob, page)
        assert "Overview" in text
        assert "Audit trail" not in text

    site.provider.person = EVE
    eve = Browser(site.port)
    site.sign_in(eve)
    text, offered = shown_to(eve, "administration")
    assert "eve@school.org is known to the identity provider, but has no role here" in text
    assert "Audit" not in text
    assert offered == ["Sign in", "Sign out"]

    leaving = alice.open("", "Sign out")
    alice.follow(leaving.redirect)
    assert shown_to(alice) == SIGN_IN
    done, refused = "done", "refused"
    assert site.trail()[-1] == ("alice@school.org", "user.sign_out", done)
    assert ("alice@school.org", "user.sign_in", done) in site.trail()
    assert ("eve@school.org", "user.sign_in", refused) in site.trail()


def test_a_grant_that_is_taken_away_counts_at_the_next_click(site: Site) -> None:
    site.provider.person = ALICE
    alice = Browser(site.port)
    site.sign_in(alice)
    assert "Overview" in alice.open().text
    site.settings_path.write_text(site.settings_path.read_text().replace('"backup-admins"', '"nobody-any-more"'))
    text, _ = shown_to(alice)
    assert "has no role here" in text
    assert "Overview" not in text


def test_an_address_that_the_provider_has_not_verified_names_nobody(site: Site) -> None:
    site.provider.person = {**BOB, "email_verified": False}
    bob = Browser(site.port)
    site.sign_in(bob)
    text, _ = shown_to(bob)
    assert "says no email of you" in text
    assert "Overview" not in text


def test_a_token_that_somebody_else_signed_or_that_answers_another_question_lets_nobody_in(site: Site) -> None:
    site.provider.person = ALICE
    site.provider.signing = rsa.generate_private_key(65537, 2048)
    forged = Browser(site.port)
    site.sign_in(forged)
    assert shown_to(forged) == SIGN_IN
    site.provider.signing, site.provider.nonce = None, "of another sign-in"
    replayed = Browser(site.port)
    site.sign_in(replayed)
    assert shown_to(replayed) == SIGN_IN
    site.provider.nonce, site.provider.client_secret = None, "changed at the provider"
    unknown = Browser(site.port)
    site.sign_in(unknown)
    assert shown_to(unknown) == SIGN_IN


def test_a_cookie_that_was_altered_or_is_sent_from_elsewhere_names_nobody(site: Site) -> None:
    site.provider.person = ALICE
    alice = Browser(site.port)
    site.sign_in(alice)
    kept = {cookie.name: cookie.value or "" for cookie in alice.client.cookies.jar}
    altered = Browser(site.port)
    altered.client.cookies.update(kept)
    signed = kept["_streamlit_user"].strip('"')
    middle = len(signed) // 2
    altered.client.cookies.set(
        "_streamlit_user", signed[:middle] + ("A" if signed[middle] != "A" else "B") + signed[middle + 1 :]
    )
    assert shown_to(altered) == SIGN_IN
    elsewhere = Browser(site.port, own_page=False)
    elsewhere.client.cookies.update(kept)
    assert shown_to(elsewhere) == SIGN_IN


def test_without_the_providers_secrets_the_page_says_what_is_missing(tmp_path: Path, catalog_database: Address) -> None:
    settings_path = configure(tmp_path, catalog_database)
    settings_path.write_text(settings_path.read_text() + GRANTS)
    port = free_port()
    with dashboard(port, settings_path, tmp_path / "log", ["--secrets.files", str(tmp_path / "none.toml")]):
        told = Browser(port).open("", "Sign in").text
    assert "signing in with the identity provider is not set up" in told
    assert "operations/sign" in told
