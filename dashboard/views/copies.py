"""The page of the copies: what lies where, how far each is behind, and the buttons."""

from __future__ import annotations

import streamlit as st

from dashboard.copies import copies_section


def main() -> None:
    """Draw the page."""
    st.title("Copies elsewhere")
    copies_section()


main()
