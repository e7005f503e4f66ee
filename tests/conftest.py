"""Fixtures of all tests."""

from __future__ import annotations

pytest_plugins = ["tests.support.postgres", "tests.support.catalog", "tests.support.s3_servers"]
