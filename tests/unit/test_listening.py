"""Sockets of this machine that others can reach."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edurise_backup.machine.listening import listeners, open_to_others

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "   0: 0100007F:2135 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0",
            ["127.0.0.1"],
        ),
        (
            "   0: 00000000:2135 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0",
            ["0.0.0.0"],  # noqa: S104
        ),
        ("   0: 0100007F:2135 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0", []),
        ("   0: 0100007F:2136 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0", []),
        ("   0: 00000000000000000000000001000000:2135 " + "0" * 32 + ":0000 0A 0:0 00:0 0 0 0 1", ["::1"]),
        ("   0: 0000000000000000FFFF00000100007F:2135 " + "0" * 32 + ":0000 0A 0:0 00:0 0 0 0 1", ["127.0.0.1"]),
    ],
)
def test_the_addresses_of_a_port_are_read_from_the_kernels_table(tmp_path: Path, line: str, found: list[str]) -> None:
    (tmp_path / "tcp").write_text(HEAD + line + "\n")
    told = [str(address) for address in listeners(8501, tables=(tmp_path / "tcp", tmp_path / "none"))]
    assert told == found


@pytest.mark.parametrize(("address", "seen"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104
def test_a_port_counts_as_open_to_others_when_it_is(address: str, seen: bool) -> None:
    with socket.create_server((address, 0)) as server:
        assert open_to_others(server.getsockname()[1]) is seen
