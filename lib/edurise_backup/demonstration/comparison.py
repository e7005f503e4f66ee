"""The judge of the demonstration: every row and every byte, before and after.

It shares nothing with the backup engine: rows are read with COPY, definitions
from the system catalogs, files with plain system calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edurise_backup.demonstration.database_facts import describe_databases, describe_roles
from edurise_backup.demonstration.facts import DatabaseFacts, Facts, FileFacts, TableFacts, compare, compare_trees
from edurise_backup.demonstration.file_facts import describe_files
from edurise_backup.demonstration.platform import Platform
from edurise_backup.postgres.connection import Address

__all__ = [
    "DatabaseFacts",
    "Facts",
    "FileFacts",
    "TableFacts",
    "compare",
    "compare_trees",
    "describe",
    "describe_databases",
    "describe_files",
    "describe_places",
    "describe_roles",
]


def describe(platform: Platform) -> Facts:
    """Describe a platform whose server runs; raises UnreachableError, SourceError."""
    return describe_places(
        platform.address,
        {name: name for name in platform.databases},
        {"storage": platform.storage, "configuration": platform.configuration},
    )


def describe_places(address: Address, databases: Mapping[str, str], trees: Mapping[str, Path]) -> Facts:
    """Describe what was restored elsewhere, under the names that the platform has for it.

    `databases` maps original names to the names on the server at `address`,
    `trees` maps `storage` and `configuration` to the folders that were restored.
    """
    return Facts(
        databases=describe_databases(address, databases),
        roles=describe_roles(address),
        trees={name: describe_files(root) for name, root in trees.items()},
    )
