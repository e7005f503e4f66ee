"""Real S3 servers for tests: `rclone serve s3` over a directory, and OpenStack Swift's s3api.

Both check signatures. rclone overwrites whatever `If-None-Match` says; Swift refuses. Their programs are
installed by `make tools` into .tools/s3 (or where EDURISE_S3_TOOLS says).
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flows.processes import LOOPBACK, free_port

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0
REGION = "us-east-1"
Running = subprocess.Popen[bytes]


def tool(name: str) -> str:
    """Return a server's program; a test that needs it fails without it, because skipping would prove nothing."""
    place = Path(os.environ.get("EDURISE_S3_TOOLS") or CHECKOUT / ".tools" / "s3") / "bin" / name
    if not place.exists():
        pytest.fail(f"{name} is not installed: `make tools` installs the S3 servers that tests need into .tools/s3")
    return str(place)


@dataclass(frozen=True, slots=True)
class S3Server:
    """A server that runs: where, and the credential that may do everything."""

    kind: str
    port: int
    access_key: str
    secret_key: str
    folder: Path
    scheme: str = "http"

    @property
    def endpoint(self) -> str:
        """The server's address."""
        return f"{self.scheme}://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What tells any client the credential."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "EDURISE_ALLOW_PLAINTEXT": "1",
        }

    def location(self, bucket: str, prefix: str = "") -> str:
        """Return a location as restic and we write it."""
        return f"s3:{self.endpoint}/{bucket}" + (f"/{prefix}" if prefix else "")

    def client(self) -> Any:
        """Return a client of its own, to look at what lies there behind the store's back."""
        return _client(self)


@cache
def _client(server: S3Server) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        verify=server.scheme == "http",
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            retries={"mode": "standard", "total_max_attempts": 8},
        ),
    )


@contextmanager
def rclone_server(
    folder: Path,
    *,
    tls: bool = False,
    path: str = "",
    access_key: str = "tests",
    secret_key: str = "a-canary-of-tests",  # noqa: S107  opens nothing
) -> Iterator[S3Server]:
    """Run `rclone serve s3` over a directory whose subdirectories are buckets.

    `path`: what its address has behind the port; rclone cannot check signatures there.
    `tls`: with a certificate that only `folder/server.pem` vouches for.
    """
    server = S3Server("rclone", free_port(), access_key, secret_key, folder, "https" if tls else "http")
    buckets = folder / "buckets"
    buckets.mkdir(parents=True)
    words = ["serve", "s3", str(buckets), "--addr", f"{LOOPBACK}:{server.port}", "--vfs-cache-mode", "off"]
    if path:
        words += ["--baseurl", path]
    if tls:
        _make_certificate(folder)
        words += ["--cert", str(folder / "server.pem"), "--key", str(folder / "server.key")]
    environment = {"RCLONE_CONFIG": str(folder / "none.conf")}
    if not path:
        environment["RCLONE_AUTH_KEY"] = f'"{server.access_key},{server.secret_key}"'  # a list, written as CSV
    with _running([tool("rclone"), *words], folder, environment) as process:
        _wait_for(server, process)
        yield server


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))


# Its servers give each other half a second by default, and shun for a minute who needed longer: here, that is a busy
# machine, and the only server there is. An object whose container was not told in time is in no listing.
SWIFT = """
[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
log_address = {folder}/no-log-socket
log_level = ERROR
conn_timeout = 30
node_timeout = 60
container_update_timeout = 60
error_suppression_limit = 1000000
"""
STORAGE = """
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats s3api tempauth copy dlo slo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:copy]
use = egg:swift#copy
[filter:dlo]
use = egg:swift#dlo
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""
HASHES = """
[swift-hash]
swift_hash_path_suffix = tests
swift_hash_path_prefix = tests
[storage-policy:0]
name = only
default = yes
"""


@contextmanager
def swift_server(folder: Path) -> Iterator[S3Server]:
    """Run OpenStack Swift with one device: an account, a container, an object and a proxy server."""
    server = S3Server("swift", free_port(), "test:tester", "testing", folder)
    (folder / "devices" / "d1").mkdir(parents=True)
    (folder / "swift.conf").write_text(HASHES)
    user = pwd.getpwuid(os.getuid()).pw_name
    with ExitStack() as stack:
        for name in ("account", "container", "object"):
            port = free_port()
            _ring(folder, name, port)
            _serve(stack, folder, name, SWIFT + STORAGE, port=port, user=user)
        _wait_for(server, _serve(stack, folder, "proxy", SWIFT + PROXY, port=server.port, user=user))
        yield server


def _serve(stack: ExitStack, folder: Path, name: str, text: str, *, port: int, user: str) -> Running:
    path = folder / f"{name}.conf"
    path.write_text(text.format(host=LOOPBACK, port=port, user=user, folder=folder, name=name))
    return stack.enter_context(_running([tool(f"swift-{name}-server"), str(path)], folder, {}))


def _ring(folder: Path, name: str, port: int) -> None:
    builder = str(folder / f"{name}.builder")
    for words in (["create", "1", "1", "1"], ["add", f"r1z1-{LOOPBACK}:{port}/d1", "100"], ["rebalance"]):
        done = subprocess.run(
            [tool("swift-ring-builder"), builder, *words], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode < 2, done.stdout  # 1 is a warning: there is one device only


@contextmanager
def _running(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Running]:
    log = folder / f"{Path(words[0]).name}.log"
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, env={**kept, **environment})
    try:
        yield process
        assert process.poll() is None, f"{words[0]} ended by itself: {log.read_text()[-2000:]}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(server: S3Server, process: Running) -> None:
    """Wait until the server answers a request without a signature: with a refusal, but not that it failed."""
    deadline = time.monotonic() + PATIENCE
    unverified = ssl._create_unverified_context()  # noqa: S323  whether it answers at all
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.endpoint}/", timeout=5, context=unverified):  # noqa: S310  ours
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        threading.Event().wait(0.05)
    logs = "".join(path.read_text()[-2000:] for path in server.folder.glob("*.log"))
    pytest.fail(f"{server.kind} does not answer on port {server.port}: {logs}")


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give a running `rclone serve s3`."""
    with rclone_server(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give a running Swift."""
    with swift_server(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(params=["rclone", pytest.param("swift", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Give one server of each kind."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, S3Server)
    return found


@pytest.fixture
def credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no credential of this machine's in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
