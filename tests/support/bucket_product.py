"""A product that protects a bucket of a real server, too."""

from __future__ import annotations

from pathlib import Path

from tests.support.catalog import Product, write_private
from tests.support.s3_servers import S3Server


def protect_bucket(product: Product, server: S3Server, bucket: str, *more: str) -> None:
    """Add the bucket to the product's sources, as `media`."""
    for name, key in (("access", server.access_key), ("secret", server.secret_key)):
        write_private(product.home / f"{name}.key", f"{key}\n")
    lines = ["", "[[bucket]]", 'name = "media"', f'location = "{server.location(bucket, "objects")}"']
    lines += ['access_key_file = "access.key"', 'secret_key_file = "secret.key"', "allow_plaintext = true", *more, ""]
    text = product.settings_path.read_text()
    product.settings_path.write_text(text.replace("\n[approvals]", "\n".join(lines) + "\n[approvals]"))


def move_bucket(product: Product, old: str, new: str) -> None:
    """Have the configuration name another bucket: the old one is lost."""
    product.configure(f"/{old}/objects", f"/{new}/objects")


def objects_in(folder: Path) -> list[str]:
    """Return the files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
