"""Commands of packages that stand above the library, found by the name of their module.

The library may not import them (it works without them). They are not entry
points, either: those come from the metadata of an installation, and a checkout
that is run from its folder, or is newer than what is installed, would lack
them. A package that is not there is left out; one that is broken is an error.
"""

from __future__ import annotations

from importlib import import_module

import typer

PLUGGED = {"report": "reports.cli"}
"""Each command group, and the module whose `app` it is."""


def add_commands(app: typer.Typer) -> None:
    """Put the groups of the packages that are there on the top level."""
    for name, module in PLUGGED.items():
        try:
            plugged = import_module(module)
        except ModuleNotFoundError as error:
            if error.name not in (module, module.partition(".")[0]):
                raise
            continue
        app.add_typer(plugged.app, name=name)
