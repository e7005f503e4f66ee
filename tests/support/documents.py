"""Read the project's pages as tests do: fenced blocks by language, in their order."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def page(path: str) -> str:
    """Return the text of a page, by its path in the checkout."""
    return (ROOT / path).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of one language, in the order of the page."""
    return [content for found, content in _FENCE.findall(_COMMENT.sub("", text)) if found == language]


def section(text: str, title: str) -> str:
    """Return what stands below a heading, up to the next one of its level or higher."""
    heading = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert heading, f"the page has no section {title!r}"
    rest = text[heading.end() :]
    end = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """Return the cells of a page's table rows, the heads among them; `code` marks and escaped bars are undone."""
    found = []
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            cells = re.split(r"(?<!\\)\|", line.strip("|"))
            found.append([cell.replace("\\|", "|").strip().strip("`") for cell in cells])
    return found
