"""What a page shows when a read fails: old figures with their time, or the error; never an empty page.

Loading, empty, stale and error are four states, and each looks different.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import streamlit as st

from dashboard.formatting import moment_text, plain, with_code
from edurise_backup.errors import BackupError
from edurise_backup.monitoring.redaction import REDACTOR

T = TypeVar("T")

PAUSE = timedelta(seconds=5)
"""How long a catalog that did not answer is left alone: each attempt may take seconds, and a page reads four times."""
_FAILURE = "last failure"


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A value with the time at which it was true."""

    value: T
    as_of: datetime


def read_or_stale(name: str, read: Callable[[], T]) -> Reading[T] | None:
    """Return what `read` gives; when it fails, the last value under `name` with a warning, or None with an error."""
    key = f"last {name}"
    try:
        reading = Reading(_attempt(read), datetime.now(UTC))
    except BackupError as error:
        last: Reading[T] | None = st.session_state.get(key)
        if last is None:
            show_error(error)
            return None
        st.warning(
            f"**Not up to date: shown as of {moment_text(last.as_of)}.** {plain(REDACTOR.clean(error.message))}",
            icon=":material/history:",
        )
        return last
    st.session_state[key] = reading
    return reading


def _attempt(read: Callable[[], T]) -> T:
    failure: Reading[BackupError] | None = st.session_state.get(_FAILURE)
    if failure is not None and datetime.now(UTC) - failure.as_of < PAUSE:
        raise failure.value
    try:
        return read()
    except BackupError as error:
        st.session_state[_FAILURE] = Reading(error, datetime.now(UTC))
        raise


def show_error(error: BackupError) -> None:
    """Show what happened, what is safe and what to do."""
    message, safe, hint = map(REDACTOR.clean, (error.message, error.safe, error.hint))
    parts = [f"**{plain(message)}**"]
    if safe:
        parts.append(f"Safe: {plain(safe)}")
    if hint:
        parts.append(f"To do: {with_code(hint)}")
    st.error("\n\n".join(parts), icon=":material/error:")
