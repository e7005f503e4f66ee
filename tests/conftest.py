"""Fixtures of all tests."""

from __future__ import annotations

import os

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.rescue",
    "tests.support.catalog",
    "tests.support.s3_servers",
    "tests.support.locking_server",
]

# as `make up` starts it: before there is an account, a dashboard lets in people of its own machine only
os.environ.setdefault("STREAMLIT_SERVER_ADDRESS", "127.0.0.1")
