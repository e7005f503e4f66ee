"""Check an archive's table of contents against what must be in it.

Entries are compared by object id, because names in the listing are not quoted.
Source of the lines' form: PrintTOCSummary in `src/bin/pg_dump/pg_backup_archiver.c`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from edurise_backup.errors import ToolError
from edurise_backup.postgres.facts import Relation

_PG_CLASS = "1259"
_LINE = re.compile(r"^\d+; (\d+) (\d+) (TABLE DATA|TABLE ATTACH|[A-Z])", re.MULTILINE)


def check_listing(
    text: str,
    *,
    archive: str,
    defined: Iterable[Relation] = (),
    loaded: Iterable[Relation] = (),
    nothing_else: bool = False,
) -> None:
    """Raise ToolError unless the archive defines and loads every one of these relations (and `nothing_else`)."""
    definitions, data = set(), set()
    entries = _LINE.findall(text)
    for catalog, oid, kind in entries:
        if kind == "TABLE DATA":
            data.add(int(oid))
        elif catalog == _PG_CLASS and kind != "TABLE ATTACH":
            definitions.add(int(oid))
    missing = [f"{one.kind} {one.full_name}" for one in defined if one.oid not in definitions]
    missing += [f"rows of {one.full_name}" for one in loaded if one.oid not in data]
    if missing:
        shown = ", ".join(missing[:10]) + (" and more" if len(missing) > 10 else "")
        raise ToolError(
            f"the archive {archive} is not whole; missing: {shown}",
            safe="nothing was published",
            hint="check the backup role's rights, then back up again",
        )
    if nothing_else and len(entries) != len(data):
        raise ToolError(f"the archive {archive} holds more than rows", safe="nothing was published")
