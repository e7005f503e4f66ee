"""The platform's made-up content: reproducible, plausible, clearly fake where it looks secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import re
from uuid import UUID

import pytest
import zstandard

from edurise_backup.demonstration.configuration import make_secrets
from edurise_backup.demonstration.content import main_tables
from edurise_backup.demonstration.media import jpeg
from edurise_backup.demonstration.passwords import scram_verifier
from edurise_backup.demonstration.population import people, sizes
from edurise_backup.demonstration.prose import Writer
from edurise_backup.demonstration.randomness import make_uuid, stream, timestamp
from edurise_backup.demonstration.storage import BUCKETS, mimetype_of, object_names


def rows_of(seed: int, table: str) -> list[tuple[object, ...]]:
    amount = sizes(0.01)
    return next(list(one.rows) for one in main_tables(seed, amount, people(seed, amount)) if one.name == table)


@pytest.mark.parametrize("table", ["auth.users", "public.submissions", "public.activity", "public.attachments"])
def test_rows_follow_from_the_seed_alone(table: str) -> None:
    assert rows_of(3, table) == rows_of(3, table)
    assert rows_of(3, table) != rows_of(4, table)


def test_profiles_carry_the_names_of_their_users() -> None:
    users = {str(row[0]): str(row[3]) for row in rows_of(1, "auth.users")}
    for profile in rows_of(1, "public.profiles"):
        assert f'"given_name": "{profile[1]}", "family_name": "{profile[2]}"' in users[str(profile[0])]


def test_every_column_of_a_table_gets_a_value() -> None:
    amount = sizes(0.01)
    for table in main_tables(1, amount, people(1, amount)):
        columns = len(table.columns.split(", "))
        assert {len(row) for row in itertools.islice(table.rows, 20)} == {columns}, table.name


def test_prose_compresses_like_text_and_media_do_not() -> None:
    writer = Writer(stream(1, "prose"))
    text = "".join(writer.text(writer.subject(), 5_000) for _ in range(40)).encode()
    picture = jpeg(stream(1, "picture"))
    assert 2 < len(text) / len(zstandard.compress(text)) < 8
    assert len(zstandard.compress(picture)) > 0.99 * len(picture)


def test_sentences_differ_and_are_punctuated() -> None:
    writer = Writer(stream(1, "sentences"))
    sentences = [writer.sentence(writer.subject()) for _ in range(500)]
    assert len(set(sentences)) > 490
    assert all(re.fullmatch(r"[A-ZŁĐÖ].*[.?]", sentence) for sentence in sentences)


def test_object_names_are_unique_and_include_hostile_ones() -> None:
    amount = sizes(0.1)
    names = list(object_names(1, amount, people(1, amount)))
    assert len(set(names)) == len(names)
    assert {bucket for bucket, _ in names} == set(BUCKETS)
    joined = "\0".join(name for _, name in names)
    assert all(sign in joined for sign in ("\n", " ", "é", "e\u0301", "/-rf", '"', "'", "\\", "<script>"))


@pytest.mark.parametrize("scale", [0.05, 1, 20])
def test_number_of_files_grows_with_the_scale(scale: float) -> None:
    amount = sizes(scale)
    names = sum(1 for _ in object_names(1, amount, people(1, amount)))
    assert names == pytest.approx(1_450 * scale, rel=0.1)


def test_type_follows_from_the_name() -> None:
    assert mimetype_of("a/b.jpg") == "image/jpeg"
    assert mimetype_of("--help") == "application/octet-stream"


def test_secrets_are_marked_as_made_up_and_stay_out_of_a_repr() -> None:
    secrets = make_secrets(1)
    made_up = [value for name, value in secrets.environment.items() if name != "DATABASE_URL"]
    assert all(value.startswith("demo-") for value in made_up)
    assert secrets.application_password not in repr(secrets)


def test_a_verifier_proves_its_password_as_rfc_5802_says() -> None:
    verifier = scram_verifier("pencil", stream(1, "salt"))
    match = re.fullmatch(r"SCRAM-SHA-256\$(\d+):(\S+)\$(\S+):(\S+)", verifier)
    assert match
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode(match[2]), int(match[1]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert hashlib.sha256(client_key).digest() == base64.b64decode(match[3])
    assert hmac.digest(salted, b"Server Key", "sha256") == base64.b64decode(match[4])


def test_uuids_are_of_version_four() -> None:
    random = stream(1, "uuids")
    assert all((one := UUID(make_uuid(random))).version == 4 and one.variant for _ in range(100))


def test_timestamps_are_written_in_utc() -> None:
    assert timestamp(0.25) == "1970-01-01 00:00:00.250000+00:00"
