"""The whole product with its repository in a bucket."""

from __future__ import annotations

from tests.support.catalog import Product
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import access_to


def in_bucket(product: Product, server: S3Server, bucket: str, more: str = "") -> Product:
    """Move a product's repository into a bucket; the credential is in files. `more`: further keys of its table."""
    access = access_to(server, product.home / "keys")
    lines = f"""location = "{server.location(bucket, "edurise")}"
allow_plaintext = true
access_key_file = "keys/access.key"
secret_key_file = "{access.secret_key_file}"
{more}"""
    text = product.settings_path.read_text()
    product.settings_path.write_text(text.replace('location = "repository"\n', lines))
    return product
