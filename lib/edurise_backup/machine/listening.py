"""On which addresses of this machine somebody listens, as the kernel tells it."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENS = "0A"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def listening_on(port: int) -> list[IPv4Address | IPv6Address]:
    """Return the addresses on which the port is open, the whole machine as 0.0.0.0 or ::; empty when it is unknown."""
    found = []
    for table in _TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:  # another system, or no IPv6
            continue
        for line in lines:
            _, local, _, state = line.split()[:4]
            address, _, number = local.partition(":")
            if state == _LISTENS and int(number, 16) == port:
                found.append(_address(address))
    return sorted(set(found), key=str)


def _address(text: str) -> IPv4Address | IPv6Address:
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    found = ip_address(socket.inet_ntop(family, b"".join(words)))
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
