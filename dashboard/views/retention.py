"""The retention's page: try a policy, see what is pinned or held, apply the retention now."""

from __future__ import annotations

import streamlit as st

from dashboard.launching import follow_launched
from dashboard.retention import show_holds, show_retention_simulator, show_start


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Retention")
    show_holds()
    show_start()
    follow_launched()
    show_retention_simulator()


main()
