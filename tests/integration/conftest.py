"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Have a Prefect server for flows that are called directly: one for all tests, it takes half a minute to start."""
    from prefect.testing.utilities import prefect_test_harness  # takes seconds, which most tests need not pay

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # tests call nobody
        patch.setenv("DO_NOT_TRACK", "1")
        with prefect_test_harness(server_startup_timeout=120):
            yield


@pytest.fixture
def fresh_caches() -> Iterator[None]:
    """Have a test be a server of its own: what one has opened or read is not there for the next."""
    import streamlit as st  # takes a second, which most tests need not pay

    st.session_state.clear()
    yield
    st.session_state.clear()
    st.cache_data.clear()
    st.cache_resource.clear()
