"""How a store's location is written."""

from __future__ import annotations

import re

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
"""How a location begins that is no directory, as stock restic writes them; `local:` before it makes it one."""
