"""The Streamlit page: reads the catalog (`queries`), starts flow runs (`actions`), never opens the repository."""
