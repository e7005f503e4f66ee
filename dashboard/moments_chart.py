"""The recovery windows on an axis of time, with base backups, gaps, deeds and activity; a click is a moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import plotly.graph_objects as plots
import streamlit as st
from plotly.subplots import make_subplots

from dashboard.moments import Moments, event_label
from edurise_backup.model.recovery_window import RecoveryWindow

_KEY = "moments chart"
_ALT = "Recovery windows by timeline, base backups, deeds and commits over time; the lists below have the same"


def draw(found: Moments) -> datetime | None:
    """Draw the chart; return the moment that was clicked on, if one was."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.06)
    for trace in [*map(_window, found.windows), _bases(found.windows), _events(found)]:
        figure.add_trace(trace, row=1, col=1)
    figure.add_trace(_activity(found), row=2, col=1)
    figure.update_layout(
        height=380, margin={"l": 0, "r": 0, "t": 30, "b": 0}, hovermode="closest", showlegend=True,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0},
    )  # fmt: skip
    figure.update_xaxes(range=[_utc(found.since), _utc(found.as_of)], hoverformat="%Y-%m-%d %H:%M:%S")
    figure.update_xaxes(title="Time (UTC)", row=2, col=1)
    figure.update_yaxes(type="category", row=1, col=1)
    figure.update_yaxes(title="commits", rangemode="tozero", row=2, col=1)
    chosen = st.plotly_chart(
        figure, width="stretch", alt=_ALT, key=_KEY, on_select="rerun", selection_mode="points",
        config={"displaylogo": False},
    )  # fmt: skip
    return clicked(chosen)


def clicked(state: object) -> datetime | None:
    """Return the moment of the point that was selected, if one was; pure."""
    selection = state.get("selection") if isinstance(state, dict) else getattr(state, "selection", None)
    points = selection.get("points") if isinstance(selection, dict) else None
    if not points or not isinstance(points[0].get("x"), str):
        return None
    try:
        return datetime.fromisoformat(points[0]["x"]).replace(tzinfo=UTC)
    except ValueError:
        return None


def _window(window: RecoveryWindow) -> plots.Scatter:
    row = f"timeline {window.timeline}"
    return plots.Scatter(
        x=[_utc(window.begin_at), _utc(window.end_at)],
        y=[row, row],
        mode="lines+markers",
        line={"width": 14, "color": "#2e7d32" if window.broken_at is None else "#ef6c00"},
        name="recovery window" if window.broken_at is None else "recovery window, ends at a gap",
        showlegend=False,
    )


def _bases(windows: Sequence[RecoveryWindow]) -> plots.Scatter:
    found = [(base.stop_at, f"timeline {window.timeline}") for window in windows for base in window.bases]
    return plots.Scatter(
        x=[_utc(moment) for moment, _ in found],
        y=[row for _, row in found],
        mode="markers",
        marker={"symbol": "diamond", "size": 11, "color": "#1565c0", "line": {"width": 1, "color": "white"}},
        name="base backup",
    )


def _events(found: Moments) -> plots.Scatter:
    return plots.Scatter(
        x=[_utc(event.at) for event in found.events],
        y=[f"timeline {event.timeline}" for event in found.events],
        mode="markers",
        marker={"symbol": "x", "size": 11, "color": "#c62828"},
        text=[event_label(event) for event in found.events],
        hovertemplate="%{text}<extra></extra>",
        name="drop, truncate, bulk change",
    )


def _activity(found: Moments) -> plots.Bar:
    return plots.Bar(
        x=[_utc(moment) for moment, _ in found.activity],
        y=[count for _, count in found.activity],
        name="commits",
        marker={"color": "#90a4ae"},
        showlegend=False,
    )


def _utc(moment: datetime) -> str:
    """Return a moment in UTC without a zone: what has one would be drawn in the browser's."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
