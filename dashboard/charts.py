"""Charts over time: every moment in UTC and on a clock of 24 hours, as everywhere else, wherever the browser is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime

import plotly.graph_objects as plots
import streamlit as st

Rows = Sequence[Mapping[str, object]]
_HEIGHT = 300


def lines(rows: Rows, when: str, values: Sequence[str], unit: str, *, alt: str) -> None:
    """Draw a line for each of the named values; `when` names the moment of a row, `alt` says what is to be seen."""
    mode = "lines+markers" if len(rows) < 40 else "lines"
    traces = [plots.Scatter(**_series(rows, when, name, _utc), mode=mode) for name in values]
    _draw(traces, {"title": f"{when} (UTC)", "type": "date", "hoverformat": "%Y-%m-%d %H:%M"}, unit, alt)


def bars(rows: Rows, when: str, values: Sequence[str], unit: str, *, alt: str) -> None:
    """Draw a bar for each of the named values, side by side; `when` names a row's day."""
    traces = [plots.Bar(**_series(rows, when, name, lambda day: _utc(day)[:10])) for name in values]
    # a day is a word here: on an axis of time a single one would be milliseconds wide
    _draw(traces, {"title": f"{when} (UTC)", "type": "category", "nticks": 15}, unit, alt)


def _series(rows: Rows, when: str, name: str, said: Callable[[object], str]) -> dict[str, object]:
    known = [row for row in rows if row.get(name) is not None]
    return {"x": [said(row[when]) for row in known], "y": [row[name] for row in known], "name": name}


def _draw(traces: Sequence[object], across: Mapping[str, object], unit: str, alt: str) -> None:
    figure = plots.Figure(data=traces)
    figure.update_layout(
        height=_HEIGHT,
        margin={"l": 0, "r": 0, "t": 30, "b": 0},
        hovermode="x unified",
        showlegend=len(traces) > 1,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0},
        xaxis=across,
        yaxis={"title": unit, "rangemode": "tozero"},
    )
    st.plotly_chart(figure, width="stretch", alt=alt, config={"displaylogo": False})


def _utc(moment: object) -> str:
    """Return a day, or a moment in UTC without a zone: what has one would be drawn in the browser's."""
    if isinstance(moment, datetime):
        return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
    assert isinstance(moment, date)
    return moment.isoformat()
