"""The platform's configuration files: settings, and secrets that are clearly made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edurise_backup.demonstration.passwords import fake_secret
from edurise_backup.demonstration.randomness import stream
from edurise_backup.demonstration.tree import Tree, directories_below

ENVIRONMENT_FILE = "app.env"
ROOT_KEY_FILE = "vault/pgsodium_root.key"


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """The made-up secrets of a platform; hidden in a repr all the same, as real ones would be."""

    application_password: str
    owner_password: str
    analyst_password: str
    vault_key: str
    environment: Mapping[str, str]


def make_secrets(seed: int) -> Secrets:
    """Return the secrets that follow from a seed; none protects anything real."""
    random = stream(seed, "secrets")
    vault_key = f"{random.getrandbits(256):064x}"
    application = fake_secret(random, "app")
    return Secrets(
        application_password=application,
        owner_password=fake_secret(random, "owner"),
        analyst_password=fake_secret(random, "analyst"),
        vault_key=vault_key,
        environment={
            "JWT_SECRET": fake_secret(random, "jwt"),
            "ANON_KEY": fake_secret(random, "anon"),
            "SERVICE_ROLE_KEY": fake_secret(random, "service"),
            "DATABASE_URL": f"postgresql://edurise_app:{application}@database.school.example:5432/edurise",
            "VAULT_ENC_KEY": fake_secret(random, "vault"),
            "STORAGE_S3_ACCESS_KEY_ID": fake_secret(random, "s3-id"),
            "STORAGE_S3_SECRET_ACCESS_KEY": fake_secret(random, "s3-key"),
            "SMTP_PASSWORD": fake_secret(random, "smtp"),
        },
    )


def fill_configuration(tree: Tree, secrets: Secrets) -> None:
    """Write the configuration files; those with secrets are readable by their owner only."""
    environment = "".join(f"{name}={value}\n" for name, value in secrets.environment.items())
    for name, text, mode in (
        (ENVIRONMENT_FILE, f"# Secrets of a demonstration: they open nothing\n{environment}SITE_URL={_SITE}\n", 0o600),
        (ROOT_KEY_FILE, f"{secrets.vault_key}\n", 0o600),
        ("nginx/nginx.conf", _NGINX, 0o644),
        ("nginx/sites/edurise.conf", _NGINX_SITE, 0o644),
        ("postgresql/postgresql.conf", _POSTGRESQL, 0o640),
        ("postgresql/pg_hba.conf", _HBA, 0o640),
        ("postgresql/conf.d/custom.conf", "log_min_duration_statement = 500\n", 0o640),
    ):
        path = tree.root / name
        tree.write(path, text.encode())
        path.chmod(mode)
    (tree.root / "nginx" / "enabled").mkdir()
    link = tree.root / "nginx" / "enabled" / "edurise.conf"
    link.symlink_to("../sites/edurise.conf")
    tree.finish(link, None, tree.chance(link))
    (tree.root / "vault").chmod(0o700)
    tree.settle(directories_below(tree.root))


_SITE = "https://learn.school.example"

_NGINX = """\
worker_processes auto;
events { worker_connections 1024; }
http {
    include mime.types;
    sendfile on;
    client_max_body_size 64m;
    include sites/*.conf;
}
"""

_NGINX_SITE = """\
server {
    listen 443 ssl;
    server_name learn.school.example;
    ssl_certificate /etc/ssl/edurise/fullchain.pem;
    ssl_certificate_key /etc/ssl/edurise/key.pem;
    location /storage/ { proxy_pass http://127.0.0.1:5000/; }
    location /rest/ { proxy_pass http://127.0.0.1:3000/; }
    location / { proxy_pass http://127.0.0.1:8080/; proxy_set_header Host $host; }
}
"""

_POSTGRESQL = """\
# The settings that the platform's server was tuned to
shared_buffers = 2GB
wal_level = logical
max_wal_size = 4GB
password_encryption = scram-sha-256
log_line_prefix = '%m [%p] %q%u@%d '
include_dir = 'conf.d'
"""

_HBA = """\
# TYPE  DATABASE  USER             ADDRESS       METHOD
local   all       all                            scram-sha-256
hostssl edurise   edurise_app      10.20.0.0/16  scram-sha-256
hostssl analytics "edurise analyst" 10.20.0.0/16 scram-sha-256
host    all       all              0.0.0.0/0     reject
"""
