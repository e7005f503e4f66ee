"""The second net: secrets that were read are replaced in everything that is said, and passwords in URLs are cut.

The first net is that nobody puts a secret into a message. This one catches what
a server, a program or a library says of its own accord: a driver that quotes
its connection string, a hook that prints its variables.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

HIDDEN = "***"
SHORTEST = 8
"""Characters: a shorter secret is not replaced, because it is also a part of ordinary words."""

_URL = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@]*):[^\s/?#]*@")
_SETTING = re.compile(r"(?P<name>\b(?:password|passwd|passphrase)\s*=\s*)(?:'(?:\\.|[^'\\])*'|[^\s'&,;]+)")


class Redactor:
    """The secrets that this process has read, and how they are taken out of a text."""

    def __init__(self) -> None:
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._known: frozenset[str] = frozenset()

    @property
    def known(self) -> frozenset[str]:
        """The secrets themselves, for whoever decides what a child process may see."""
        return self._known

    def learn(self, secret: str) -> None:
        """Replace this secret from now on, also as JSON, a URL and Python write it."""
        if secret in self._known:
            return
        self._known |= {secret}
        if len(secret) < SHORTEST:
            return
        self._forms |= set(_forms(secret))
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def clean(self, text: str) -> str:
        """Return what is told to a person or kept, without secrets; what holds none stays as it is."""
        text = _URL.sub(rf"\g<scheme>:{HIDDEN}@", text)
        return self.without_known(_SETTING.sub(rf"\g<name>{HIDDEN}", text))

    def without_known(self, text: str) -> str:
        """Return the text without the secrets that were read; for a command's result, where a URL is data."""
        if self._pattern is None:
            return text
        # what is left around one secret may make another: again, until nothing is found (it gets shorter each time)
        while (cut := self._pattern.sub(HIDDEN, text)) != text:
            text = cut
        return text


def _forms(secret: str) -> list[str]:
    import json
    from urllib.parse import quote

    raw = secret.encode("utf-8", "surrogateescape")
    as_json = [json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    return [secret, *as_json, quote(raw), quote(raw, safe=""), repr(secret)[1:-1]]


REDACTOR = Redactor()
"""This process's own. A module's state for once: whoever says something cannot know who has read which secret."""


def protect_logs(redactor: Redactor = REDACTOR) -> None:
    """Have every log record of this process pass through the net, with its arguments and its traceback."""
    import logging

    before = logging.getLogRecordFactory()
    if getattr(before, "redacts", False):
        return

    def make(*args: object, **kwargs: object) -> logging.LogRecord:
        record = before(*args, **kwargs)
        _clean_record(record, redactor)
        return record

    make.redacts = True  # type: ignore[attr-defined]  # a mark for the next call
    logging.setLogRecordFactory(make)


def _clean_record(record: logging.LogRecord, redactor: Redactor) -> None:
    """Change a record only where it holds a secret: some formatters want the arguments as they came."""
    import traceback

    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # a wrong format string; the handler says so
        return
    if (cleaned := redactor.clean(text)) != text:
        record.msg, record.args = cleaned, ()
    if record.exc_info and record.exc_info[0] is not None:
        trace = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if (cleaned := redactor.clean(trace)) != trace:
            record.exc_info, record.exc_text = None, cleaned  # a handler would format it anew, without the net
