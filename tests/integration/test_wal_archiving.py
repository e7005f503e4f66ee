"""A cluster's log comes by its server's archive_command: a yes means that the file is kept, and nothing is replaced."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edurise_backup.archive_client import GREETING, HEADER
from edurise_backup.errors import ConflictError
from edurise_backup.model.wal_status import WalState
from edurise_backup.operations.wal.receiving import Reception, spool_folder
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.archiving import (
    CLIENT,
    Handed,
    accepting,
    accepting_apart,
    make_acceptor,
    offer,
    offer_as,
    offer_bytes,
    switched,
    take,
)
from tests.support.catalog import Product, opened, run
from tests.support.cluster_product import archive_of, configure_cluster, numbers, receiving, until
from tests.support.clusters import MAJORS, NEWEST, SOURCE, ask, reachable_folder, running

STRANGER = 54321
"""A user's id that nobody has."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A server whose archive_command is the client, and the socket to which that one talks."""

    server: Server
    socket: Path

    def product(self, home: Path, catalog: Address) -> Product:
        """Return a product that accepts there."""
        wal = f'method = "archive"\nsocket = "{self.socket}"\nship_seconds = 1'
        return configure_cluster(home, self.server, catalog, wal=wal)


def archived(major: int) -> Iterator[Archived]:
    with reachable_folder() as folder:
        shutil.copy(CLIENT, folder / "client.py")  # the checkout may be closed to the server's user
        place = folder / "archive.sock"
        command = f"/usr/bin/python3 -I -S {folder}/client.py {place} %p %f"
        with running(folder / "data", major, {"archive_mode": "on"}) as server:
            command_of(server, command)
            ask(server, "CREATE TABLE t (id int, v text)")
            yield Archived(server, place)
            command_of(server, "/bin/true")  # or its end waits for a receiver that is not there any more


def command_of(server: Server, command: str) -> None:
    ask(server, f"ALTER SYSTEM SET archive_command = '{command}'")
    ask(server, "SELECT pg_reload_conf()")


@pytest.fixture(scope="module", params=MAJORS)
def any_version(request: pytest.FixtureRequest) -> Iterator[Archived]:
    """Yield a server of each version; the newest is that of the other tests."""
    if request.param == NEWEST:
        yield request.getfixturevalue("newest")
    else:
        yield from archived(request.param)


@pytest.fixture(scope="module")
def newest() -> Iterator[Archived]:
    """Yield a server of the newest version."""
    yield from archived(NEWEST)


@pytest.fixture
def product(tmp_path: Path, newest: Archived, catalog_database: Address) -> Product:
    """Return a product around it."""
    return newest.product(tmp_path / "product", catalog_database)


@pytest.fixture(scope="module")
def handed(newest: Archived) -> Handed:
    """Return a segment that its server has completed."""
    return take(newest.server)


def arrived(reception: Reception, product: Product, name: str) -> None:
    """Take steps until a file is in the repository and the catalog."""
    known = reception._catalog.wal
    system = reception.status.system_identifier
    until(lambda: name in {row.name for row in known.segments(SOURCE, system)}, reception.step)
    assert name in archive_of(product).beside(name)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


# With a server


def test_what_the_server_hands_over_is_in_the_repository_without_a_gap(
    any_version: Archived, tmp_path: Path, catalog_database: Address
) -> None:
    product = any_version.product(tmp_path, catalog_database)
    server = any_version.server
    with opened(product) as catalog, receiving(product, catalog) as reception:
        until(lambda: reception.status.state is WalState.RECEIVING, reception.step)
        names = [switched(server) for _ in range(4)]
        arrived(reception, product, names[-1])
        found = numbers(archive_of(product), partial=False)
        assert found == list(range(found[0], found[-1] + 1))
        assert {name for name, _ in archive_of(product).names()} >= set(names)
        rows = catalog.wal.segments(SOURCE, reception.status.system_identifier)
        assert all(row.follows for row in rows[1:])
        until(lambda: not reception.status.trouble, reception.step)
        end = (found[-1] + 1) * reception.status.segment_size
        until(lambda: reception.status.received_lsn == end, reception.step)
        assert reception.status.shipped_lsn == end  # or an idle server would seem exposed for ever
        status = reception.status
        assert (status.method, status.slot, status.slot_status) == ("archive", "", "")
        assert "archive_timeout" in status.hint
        until(lambda: len(files(spool_folder(product.settings, SOURCE))) == 1, reception.step)
    assert ask(server, "SELECT count(*) FROM pg_replication_slots") == [(0,)]
    assert engine.check(engine.opened(LocalStore(product.repository))).findings == []
    assert not any_version.socket.exists()


def test_while_nobody_accepts_the_server_keeps_its_log_and_hands_it_over_later(
    newest: Archived, product: Product
) -> None:
    server = newest.server
    names = [switched(server) for _ in range(3)]
    failed = f"SELECT last_failed_wal <= '{names[0]}' FROM pg_stat_archiver WHERE failed_count > 0"
    until(lambda: ask(server, failed) == [(True,)])
    with opened(product) as catalog, receiving(product, catalog) as reception:
        until(lambda: reception.status.state is WalState.RECEIVING, reception.step)
        until(lambda: "archive_command fails" in reception.status.trouble, reception.step)
        names.append(switched(server))  # it wakes the archiver, which waits for a minute otherwise
        arrived(reception, product, names[-1])
        assert {name for name, _ in archive_of(product).names()} >= set(names)
        until(lambda: not reception.status.trouble, reception.step)
        assert (reception.status.conflicts, reception.status.quarantined) == (0, 0)


def test_what_the_repository_has_is_not_replaced(newest: Archived, product: Product) -> None:
    """SCENARIOS S-29: wal_same_name_other_content."""
    server = newest.server
    with opened(product) as catalog, receiving(product, catalog) as reception:
        until(lambda: reception.status.state is WalState.RECEIVING, reception.step)
        name = switched(server)
        arrived(reception, product, name)
        arrived(reception, product, switched(server))
        spool = spool_folder(product.settings, SOURCE)
        until(lambda: name not in files(spool), reception.step)
        content = archive_of(product).read(name)
        again = offer_bytes(newest.socket, content, name)
        assert (again.returncode, again.stderr) == (0, "")
        other = content[:-8192] + b"\1" * 8192
        for _ in range(2):
            refused = offer_bytes(newest.socket, other, name)
            assert refused.returncode == 1
            assert "is in the repository with other bytes" in refused.stderr
        reception.step()
        assert (reception.status.conflicts, reception.status.quarantined) == (1, 0)
        (kept,) = (spool / "aside").iterdir()
        assert kept.name.startswith(f"{name}.conflict-")
        assert kept.read_bytes() == other
        assert archive_of(product).read(name) == content
        assert name not in files(spool)


def test_a_command_that_keeps_nothing_and_says_otherwise_is_told(newest: Archived, product: Product) -> None:
    server = newest.server
    ((command,),) = ask(server, "SELECT current_setting('archive_command')")
    with opened(product) as catalog, receiving(product, catalog) as reception:
        until(lambda: reception.status.state is WalState.RECEIVING, reception.step)
        arrived(reception, product, switched(server))
        try:
            command_of(server, "/bin/true")
            lost = switched(server)
            until(lambda: f"reports success for {lost}" in reception.status.trouble, reception.step)
            command_of(server, "")
            until(lambda: "archive_command is empty" in reception.status.trouble, reception.step)
        finally:
            command_of(server, str(command))
        arrived(reception, product, switched(server))
        until(lambda: not reception.status.trouble, reception.step)


def test_the_line_for_the_server_is_printed_with_what_is_still_missing(newest: Archived, product: Product) -> None:
    shown = run(product, "wal", "archive-command")
    assert shown.returncode == 0, shown.stderr
    first, *hints = shown.stdout.splitlines()
    assert all(hint.startswith("# ") for hint in hints)  # it can be pasted as it is
    assert "archive_timeout of the server is 0" in shown.stdout
    assert "the server runs another archive_command" in shown.stdout
    said = json.loads(run(product, "wal", "archive-command", SOURCE, "--json").stdout)
    said = said.get("result", said)
    assert first == f"archive_command = '{said['command']}'"
    assert shlex.split(said["command"])[3:] == [str(CLIENT), str(newest.socket), "%p", "%f"]
    product.configure('method = "archive"', 'method = "stream"')
    assert 'method = "archive"' in run(product, "wal", "archive-command").stdout
    assert run(product, "wal", "archive-command", "other").returncode == 2


def test_a_place_that_the_server_cannot_use_is_told_before_anything_is_lost(newest: Archived, product: Product) -> None:
    product.configure(str(newest.socket), str(newest.socket.with_name("x" * 100)))
    with opened(product) as catalog, receiving(product, catalog) as reception:
        reception.step()
        assert "longer than 107 bytes" in reception.status.trouble
        assert reception.status.state is not WalState.RECEIVING
    if os.geteuid() == 0:
        closed = product.home / "closed"
        closed.mkdir(mode=0o700)
        product.configure(str(newest.socket.with_name("x" * 100)), str(closed / "socket"))
        with opened(product) as catalog, receiving(product, catalog) as reception:
            reception.step()
            assert "cannot reach" in reception.status.trouble


# Without one


def test_the_same_again_is_a_yes_and_other_bytes_are_a_no(tmp_path: Path, handed: Handed) -> None:
    other = handed.content[:-1] + b"\1"
    with accepting(tmp_path, handed) as place:
        for _ in range(2):
            done = offer_bytes(place, handed.content, handed.name)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        refused = offer_bytes(place, other, handed.name)
        assert refused.returncode == 1
        assert "waits here with other bytes" in refused.stderr
    assert (tmp_path / "spool" / handed.name).read_bytes() == handed.content
    assert [path.read_bytes() for path in (tmp_path / "spool" / "aside").iterdir()] == [other]
    assert files(tmp_path / "spool") == {handed.name}


def test_a_segment_that_is_cut_short_on_the_server_holds_its_queue_up_for_a_moment_only(
    tmp_path: Path, handed: Handed
) -> None:
    """SCENARIOS S-30: truncated_wal_archived, zero_size_backup_history."""
    note = f"{handed.name}.00000028.backup"
    cases = {
        handed.at(1): handed.content[:100_000],
        handed.at(2): b"",
        handed.at(3): bytes(handed.size),
        "00000002.history": b"",
    }
    cut = bytearray(cases[handed.at(1)])
    struct.pack_into("<Q", cut, 8, struct.unpack_from("<Q", cut, 8)[0] + handed.size)  # the place that its name says
    cases[handed.at(1)] = bytes(cut)
    with accepting(tmp_path, handed) as place:
        for name, content in cases.items():
            answers = [offer_bytes(place, content, name).returncode for _ in range(3)]
            assert answers == [1, 1, 0], name
        assert offer_bytes(place, b"", note).returncode == 0
        assert offer_bytes(place, b"START WAL LOCATION", note).returncode == 0
    aside = sorted((tmp_path / "spool" / "aside").iterdir())
    kept = {path.name.rpartition("-")[0]: path.read_bytes() for path in aside}
    assert kept == {**cases, note: b""}
    assert files(tmp_path / "spool") == {note}


def test_a_bad_read_that_is_not_repeated_is_no_reason_to_let_a_segment_go(tmp_path: Path, handed: Handed) -> None:
    with accepting(tmp_path, handed) as place:
        answers = [offer_bytes(place, handed.content[:length], handed.name).returncode for length in (0, 9, 0, 9, 0)]
        assert answers == [1] * 5
        assert offer_bytes(place, handed.content, handed.name).returncode == 0


def test_what_belongs_elsewhere_is_never_called_kept(tmp_path: Path, handed: Handed) -> None:
    foreign = bytearray(handed.content)
    struct.pack_into("<Q", foreign, 24, 1)
    later = bytearray(handed.content)
    struct.pack_into("<H", later, 0, 0xD2FF)
    cases = {
        (handed.name, bytes(foreign)): "another cluster",
        (handed.name, bytes(later)): "does not begin like a segment",
        (handed.name, bytes(foreign[:50_000])): "it has 50000 bytes",
        (handed.at(7), handed.content): "its name says",
        ("../escape", handed.content): "is no file of a log",
        ("pg_control", b"x"): "is no file of a log",
        (handed.name, handed.content + b"x"): "are possible",
        ("00000003.history", b"garbled\n"): "cannot be read",
    }
    with accepting(tmp_path, handed) as place:
        for (name, content), said in cases.items():
            for _ in range(4):
                done = offer_bytes(place, content, name)
                assert done.returncode == 1, (name, said)
                assert said in done.stderr
                assert len(done.stderr.splitlines()) == 1
    assert files(tmp_path / "spool") == set()


def test_histories_notes_and_the_beginnings_of_segments_are_kept(tmp_path: Path, handed: Handed) -> None:
    known = {
        "00000002.history": b"1\t0/5000000\tno recovery target specified\n",
        f"{handed.name}.00000028.backup": b"START WAL LOCATION: 0/2000028\n",
        f"{handed.name}.partial": handed.content,
    }
    with accepting(tmp_path, handed) as place:
        for name, content in known.items():
            assert offer_bytes(place, content, name).returncode == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "spool").iterdir()} == known


def test_of_a_segment_that_was_streamed_before_more_may_come_and_nothing_else(tmp_path: Path, handed: Handed) -> None:
    name = f"{handed.name}.partial"
    half = handed.content[: handed.size // 2].ljust(handed.size, b"\0")
    streamed = {name: half}
    with accepting(tmp_path, handed, streamed.get) as place:
        assert offer_bytes(place, handed.content[:-1] + b"\1", name).returncode == 0
        assert files(tmp_path / "spool") == {name}
        (tmp_path / "spool" / name).unlink()
        streamed[name] = handed.content
        assert offer_bytes(place, half, name).returncode == 0
        assert files(tmp_path / "spool") == set()
        streamed[name] = half[:60] + b"\7" * 8 + half[68:]
        assert offer_bytes(place, handed.content, name).returncode == 1


def test_a_file_that_ends_early_or_a_peer_that_says_nothing_leaves_nothing(tmp_path: Path, handed: Handed) -> None:
    with accepting(tmp_path, handed) as place:
        connection = half_sent(place, handed)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000).startswith(b"1 it ended after")
        connection.close()
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(place))
            other.sendall(b"GET / HTTP/1.0\r\n\r\n".ljust(HEADER))
            assert b"same release" in other.recv(1000)
        idle = socket.socket(socket.AF_UNIX)
        idle.connect(str(place))
        assert offer_bytes(place, handed.content, handed.name).returncode == 0  # nobody waits for the idle one
    idle.close()
    assert files(tmp_path / "spool") == {handed.name}


def half_sent(place: Path, handed: Handed) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(place))
    connection.sendall((GREETING + b" %d %s" % (handed.size, handed.name.encode())).ljust(HEADER))
    connection.sendall(handed.content[: handed.size // 2])
    return connection


def test_a_receiver_that_is_killed_leaves_no_part_of_a_file_under_its_name(tmp_path: Path, handed: Handed) -> None:
    spool = tmp_path / "spool"
    with accepting_apart(tmp_path, handed) as process:
        connection = half_sent(tmp_path / "socket", handed)
        until(lambda: any(path.stat().st_size for path in spool.iterdir()))
        process.kill()
        process.wait()
        connection.close()
    assert handed.name not in files(spool)
    assert files(spool)  # what was half there, under another name
    refused = offer_bytes(tmp_path / "socket", handed.content, handed.name)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    with accepting(tmp_path, handed) as place:
        assert files(spool) == set()
        assert offer_bytes(place, handed.content, handed.name).returncode == 0
    assert files(spool) == {handed.name}


def test_a_full_disk_is_a_no_and_leaves_nothing_half_made(tmp_path: Path, handed: Handed) -> None:
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({handed.size // 2},) * 2)"
    with accepting_apart(tmp_path, handed, before=limit):
        refused = offer_bytes(tmp_path / "socket", handed.content, handed.name)
    assert refused.returncode == 1
    assert "the receiver cannot keep it" in refused.stderr
    assert files(tmp_path / "spool") == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_stranger_is_not_heard(handed: Handed) -> None:
    with reachable_folder() as folder:
        segment = folder / "segment"
        segment.write_bytes(handed.content)
        shutil.copy(CLIENT, folder / "client.py")
        with accepting(folder, handed) as place:
            closed = offer_as(STRANGER, folder / "client.py", place, segment, handed.name)
            assert (closed.returncode, "Permission denied" in closed.stderr) == (1, True)
            place.chmod(0o666)
            refused = offer_as(STRANGER, folder / "client.py", place, segment, handed.name)
            assert (refused.returncode, f"id {STRANGER} may not" in refused.stderr) == (1, True)
        assert files(folder / "spool") == set()


def test_every_mistake_of_a_command_line_is_one_line_and_the_status_one(tmp_path: Path, handed: Handed) -> None:
    segment = tmp_path / "segment"
    segment.write_bytes(handed.content)
    with accepting(tmp_path, handed) as place:
        for done in (
            offer(place, tmp_path / "missing", handed.name),
            offer(tmp_path / "nobody", segment, handed.name),
            offer(tmp_path / ("x" * 200), segment, handed.name),
            offer(segment, segment, handed.name),
            offer(place, tmp_path, handed.name),
            offer(place, segment, "two words"),
            offer(place, segment, "x" * 65),
            offer(place, segment, ""),
        ):
            assert done.returncode == 1
            assert len(done.stderr.splitlines()) == 1
            assert done.stderr.startswith("edurise-backup archive: ")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_client_that_is_interrupted_says_so_and_does_not_end_the_archiver(
    tmp_path: Path, handed: Handed, number: signal.Signals
) -> None:
    segment = tmp_path / "segment"
    segment.write_bytes(b"small")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "socket"))
        silent.listen()
        command = [sys.executable, "-I", "-S", CLIENT, tmp_path / "socket", segment, handed.name]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as client:
            connection, _ = silent.accept()
            assert connection.recv(HEADER)
            client.send_signal(number)
            assert f"signal {number.value}" in client.communicate()[1]
        assert client.returncode == 1
        connection.close()


def test_two_receivers_do_not_share_a_socket(tmp_path: Path, handed: Handed) -> None:
    with accepting(tmp_path, handed) as place:
        second = make_acceptor(tmp_path, handed.system, handed.size)
        with pytest.raises(ConflictError, match="somebody else accepts files"):
            second.start()
        assert not second.running
        assert offer_bytes(place, handed.content, handed.name).returncode == 0
