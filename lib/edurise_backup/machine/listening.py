"""On which addresses of this machine somebody listens: /proc/net/tcp and tcp6 (proc_net_tcp.rst of the kernel)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENS = "0A"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
Listening = IPv4Address | IPv6Address


def listeners(port: int, *, tables: tuple[Path, ...] = _TABLES) -> list[Listening]:
    """Return the addresses on which the port is open, the whole machine as 0.0.0.0 or ::.

    None where the system does not tell. An IPv4 address in IPv6's clothes comes as what it is.
    """
    found: set[Listening] = set()
    for table in tables:
        with suppress(OSError):  # another system, or no IPv6
            found.update(_of_table(table.read_text("ascii"), port))
    return sorted(found, key=str)


def open_to_others(port: int) -> bool:
    """Whether another machine could reach the port, as far as this one's sockets tell."""
    return any(not address.is_loopback for address in listeners(port))


def _of_table(text: str, port: int) -> Iterator[Listening]:
    for line in text.splitlines()[1:]:
        fields = line.split()
        where, _, number = fields[1].partition(":")
        if fields[3] == _LISTENS and int(number, 16) == port:
            words = bytes.fromhex(where)  # 32-bit words, each in this machine's order (little-endian)
            address = ip_address(b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4)))
            yield address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
