"""The page of retention: what is pinned or held, and applying it now; policies are tried beside the schedules."""

from __future__ import annotations

import streamlit as st

from dashboard.launching import follow_launched
from dashboard.retention import show_holds, show_start


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Retention")
    show_holds()
    show_start()
    follow_launched()


main()
