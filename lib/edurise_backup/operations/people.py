"""Who acts: the person at this command line, or nobody that could be named."""

from __future__ import annotations

import os
import pwd
import socket
from uuid import UUID

from edurise_backup.model.people import Actor, Role, Via


def local_actor() -> Actor:
    """Return who runs this process, `NAME@HOST`; whoever may run commands here has every role but a second person's.

    Under sudo it is the person who called it: that is whom an audit asks.
    """
    name = os.environ.get("SUDO_USER") if os.getuid() == 0 else None
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = f"uid {os.getuid()}"
    return Actor(f"{name}@{socket.gethostname()}", Via.COMMAND_LINE, frozenset(Role))


def acting(flow_run_id: UUID | None) -> Actor:
    """Return who acts: for a flow run nobody in particular, since Prefect does not say who started it."""
    return Actor("Prefect", Via.FLOW, frozenset(Role)) if flow_run_id is not None else local_actor()
