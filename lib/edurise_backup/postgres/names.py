"""Write names and settings for PostgreSQL's programs and for scripts."""

from __future__ import annotations

import re

# parameters whose stored value is a list of quoted names (source: variable_is_guc_list_quote in dumputils.c)
_LIST_PARAMETERS = frozenset(
    (
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    )
)
_LIST_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",\s][^",]*?))\s*(?:,|\Z)')


def exact_pattern(schema: str, name: str) -> str:
    """Return a `--table` pattern that matches this relation only: between double quotes nothing is special."""
    return f"{quote_name(schema)}.{quote_name(name)}"


def quote_name(name: str) -> str:
    """Return a name between double quotes."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Return a string literal that means the same whatever `standard_conforming_strings` is."""
    quoted = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{quoted}'" if "\\" in text else f"'{quoted}'"


def setting_values(name: str, value: str) -> list[str]:
    """Return what stands behind `SET name TO`: the elements of a list parameter, else the value itself."""
    if name.lower() not in _LIST_PARAMETERS:
        return [value]
    elements = [
        match[1].replace('""', '"') if match[1] is not None else match[2]
        for match in _LIST_ELEMENT.finditer(value)
        if match[0]
    ]
    return elements or [""]
