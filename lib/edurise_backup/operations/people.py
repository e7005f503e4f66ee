"""Who acts: the person at this command line."""

from __future__ import annotations

import os
import pwd
import socket

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
