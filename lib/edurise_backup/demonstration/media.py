"""The bytes of the platform's files: written material, and media that are compressed already."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from edurise_backup.demonstration.prose import Writer

KiB = 1024
MiB = 1024 * KiB

Maker = Callable[[Random], bytes]


def jpeg(random: Random) -> bytes:
    """Return a portrait of 3 to 24 kB: a JPEG's beginning and end with incompressible bytes between."""
    head = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x48\x00\x48\x00\x00"
    return head + random.randbytes(random.randrange(3 * KiB, 24 * KiB)) + b"\xff\xd9"


def png(random: Random) -> bytes:
    """Return a screenshot of 10 to 60 kB."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
    return head + random.randbytes(random.randrange(10 * KiB, 60 * KiB)) + b"IEND\xaeB`\x82"


def mp4(random: Random) -> bytes:
    """Return a recording of 0.8 to 4.5 MB."""
    data = random.randbytes(random.randrange(800 * KiB, 4500 * KiB))
    return b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + (len(data) + 8).to_bytes(4, "big") + b"mdat" + data


def pdf(random: Random) -> bytes:
    """Return a handout: pages of text, and images as incompressible streams."""
    writer = Writer(random)
    subject = writer.subject()
    parts = [b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"]
    for number in range(1, random.randrange(3, 12)):
        page = f"BT /F1 11 Tf ({writer.text(subject, 3_000)}) Tj ET".encode()
        image = random.randbytes(random.randrange(4 * KiB, 30 * KiB))
        for kind, stream in ((b"", page), (b"/Filter /DCTDecode ", image)):
            parts.append(b"%d 0 obj\n<< %s/Length %d >>\nstream\n" % (number, kind, len(stream)))
            parts += (stream, b"\nendstream\nendobj\n")
    return b"".join([*parts, b"trailer\n<< /Size 12 /Root 1 0 R >>\n%%EOF\n"])


def html(random: Random) -> bytes:
    """Return a lesson's page of 4 to 20 kB."""
    writer = Writer(random)
    subject = writer.subject()
    body = "\n".join(
        f"  <section id='part-{part}'>\n    <h2>{writer.title(subject)}</h2>\n"
        f"    <p>{writer.paragraph(subject, 8)}</p>\n  </section>"
        for part in range(random.randrange(4, 20))
    )
    title = writer.title(subject)
    return f"<!doctype html>\n<html lang='en'>\n<title>{title}</title>\n<main>\n{body}\n</main>\n</html>\n".encode()


def markdown(random: Random) -> bytes:
    """Return notes of 2 to 12 kB."""
    writer = Writer(random)
    subject = writer.subject()
    return f"# {writer.title(subject)}\n\n{writer.text(subject, random.randrange(2_000, 12_000))}".encode()


def csv(random: Random) -> bytes:
    """Return a table of measurements."""
    lines = ["time;sensor;value;remark"]
    lines += [
        f"{second};{random.choice('ABC')}{random.randrange(9)};{random.gauss(20, 4):.3f};"
        for second in range(0, random.randrange(2_000, 20_000), 10)
    ]
    return "\n".join(lines).encode() + b"\n"


def python(random: Random) -> bytes:
    """Return a learner's program."""
    writer = Writer(random)
    subject = writer.subject()
    functions = [
        f'def exercise_{number}(data):\n    """{writer.sentence(subject)}"""\n    total = {random.randrange(100)}\n'
        f"    for item in data:\n        total += item * {random.randrange(2, 50)}\n    return total\n"
        for number in range(random.randrange(4, 30))
    ]
    return "\n\n".join(functions).encode()


def empty(random: Random) -> bytes:
    """Return nothing: an upload that failed, say."""
    return b""
