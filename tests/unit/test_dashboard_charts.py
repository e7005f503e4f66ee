"""Charts say moments in UTC, whatever zone the moment, the server or the browser is in."""

from __future__ import annotations

import json

from streamlit.testing.v1 import AppTest


def _page() -> None:
    from datetime import date, datetime, timedelta, timezone

    from dashboard import charts

    moment = datetime(2026, 11, 27, 23, 30, tzinfo=timezone(timedelta(hours=2)))
    charts.lines([{"When": moment, "A": 1.0, "B": None}], "When", ("A", "B"), "MiB", alt="two lines")
    charts.bars([{"Day": date(2026, 11, 27), "A": 1.0}], "Day", ("A",), "MiB", alt="a bar")


def test_moments_are_drawn_in_utc_and_what_is_not_known_is_not_drawn() -> None:
    app = AppTest.from_function(_page, default_timeout=60).run()
    assert not app.exception
    line, bar = (json.loads(chart.proto.spec) for chart in app.get("plotly_chart"))
    assert [(trace["name"], trace["x"]) for trace in line["data"]] == [("A", ["2026-11-27 21:30:00"]), ("B", [])]
    assert line["layout"]["xaxis"]["title"]["text"] == "When (UTC)"
    assert bar["data"][0]["x"] == ["2026-11-27"]
    assert (line["layout"]["showlegend"], bar["layout"]["showlegend"]) == (True, False)
