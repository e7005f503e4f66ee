"""The frame of the dashboard: title, navigation, the page that was chosen.

Run by `streamlit run dashboard/app.py`; `make up` does so. A page is a file in
`views/`: to add one, write the file and name it here.
"""

from __future__ import annotations

import streamlit as st

st.set_page_config(page_title="EduRise Backup", page_icon=":material/settings_backup_restore:", layout="wide")

PAGES = {
    "Operate": [
        st.Page("views/overview.py", title="Overview", icon=":material/dashboard:", default=True),
        st.Page("views/alarms.py", title="Alarms", icon=":material/notifications:"),
        st.Page("views/repository.py", title="Repository", icon=":material/inventory_2:"),
        st.Page("views/schedules.py", title="Schedules and policies", icon=":material/event_repeat:"),
        st.Page("views/retention.py", title="Retention", icon=":material/event_repeat:"),
    ],
}

st.navigation(PAGES).run()
