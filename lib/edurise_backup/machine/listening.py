"""Which addresses of this machine somebody listens on: /proc/net/tcp and tcp6 (proc_net_tcp.rst of the kernel)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTEN = "0A"
Listening = IPv4Address | IPv6Address


def listeners(
    port: int, *, tables: tuple[Path, ...] = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
) -> list[Listening]:
    """Return the addresses on which the port is open; none where the system does not tell."""
    found: list[Listening] = []
    for table in tables:
        with suppress(OSError):
            found += _of_table(table.read_text(), port)
    return found


def open_to_others(port: int) -> bool:
    """Whether another machine could reach the port, as far as this one's sockets tell."""
    return any(not _local(address) for address in listeners(port))


def _local(address: Listening) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _of_table(text: str, port: int) -> Iterator[Listening]:
    for line in text.splitlines()[1:]:
        fields = line.split()
        where, _, number = fields[1].partition(":")
        if fields[3] == _LISTEN and int(number, 16) == port:
            words = bytes.fromhex(where)  # 32-bit words, each in this machine's order (little-endian)
            yield ip_address(b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4)))
