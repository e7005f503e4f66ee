"""The frame of the dashboard: title, navigation, the page that was chosen.

Run by `streamlit run dashboard/app.py`; `make up` does so. A page is a file in
`views/`: to add one, write the file and name it here. Who sees it is in `frame.NEEDS`.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import frame, people, signing_in
from dashboard.readings import show_error
from edurise_backup.errors import BackupError

ICON = Path(__file__).with_name("icon.svg")  # a named one would be fetched from somebody else's server
st.set_page_config(page_title="EduRise Backup", page_icon=str(ICON), layout="wide")

PAGES = {
    "Operate": [
        st.Page("views/overview.py", title="Overview", icon=":material/dashboard:", default=True),
        st.Page("views/activity.py", title="Activity", icon=":material/history:"),
        st.Page("views/alarms.py", title="Alarms", icon=":material/notifications:"),
        st.Page("views/moments.py", title="Point in time", icon=":material/schedule:"),
        st.Page("views/repository.py", title="Repository", icon=":material/inventory_2:"),
        st.Page("views/schedules.py", title="Schedules and policies", icon=":material/event_repeat:"),
        st.Page("views/retention.py", title="Retention", icon=":material/event_repeat:"),
    ],
    "Understand": [
        st.Page("views/stores.py", title="Storage and cost", icon=":material/database:"),
        st.Page("views/storage.py", title="Storage trends", icon=":material/storage:"),
        st.Page("views/performance.py", title="Performance", icon=":material/speed:"),
    ],
    "Prove": [
        st.Page("views/reports.py", title="Reports", icon=":material/summarize:"),
    ],
    "Govern": [
        st.Page("views/administration.py", title="Audit and administration", icon=":material/policy:"),
    ],
}


def main() -> None:
    """Show the page that was chosen to whoever may see it, and the sign-in to everybody else.

    The sign-in stands at the page's own address: whoever followed a link is there afterwards.
    """
    try:
        visitor = people.admitted()
    except BackupError as error:
        st.navigation(PAGES, position="hidden")
        show_error(error)
        return
    if visitor.actor is None:
        st.navigation(PAGES, position="hidden")
        signing_in.show()
        return
    chosen = st.navigation(frame.pages_for(visitor.actor, PAGES))
    frame.show_visitor(visitor)
    chosen.run()


main()
