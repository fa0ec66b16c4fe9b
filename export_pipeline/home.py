"""The files in `HOME` that hold what the embedded parts need: the bucket's keys and port, the key of stored secrets.

Each is made once, whole or not at all, for its owner's eyes only. The port is recorded because an export remembers its
endpoint: were the port another one at the next start, a new table would begin.
"""

import base64
import ipaddress
import json
import os
import random
import secrets
import socket
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from export_pipeline.errors import EmbeddedError, SettingsError

HOST = "127.0.0.1"
S3_PORTS = 8
"""The embedded S3 server needs so many ports in a row."""

LOWEST_PORT, HIGHEST_PORT = 10_240, 32_000
"""Free ports are looked for below the range that Linux gives to outgoing connections (32768 to 60999)."""

_FILE = "embedded.json"
_KEY_FILE = "secret.key"

_PROXY_HEADERS = {
    "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-original-forwarded-for", "true-client-ip",
    "cf-connecting-ip", "cf-ray", "fastly-client-ip", "fly-client-ip", "x-envoy-external-address",
}  # fmt: skip


@dataclass(frozen=True)
class EmbeddedBucket:
    """The embedded S3 server's first port and its one user."""

    port: int
    access_key_id: str
    secret_access_key: str = field(repr=False)

    @property
    def endpoint_url(self) -> str:
        """Where S3 is served."""
        return f"http://{HOST}:{self.port}"


def embedded_bucket(home: Path) -> EmbeddedBucket:
    """What is recorded in `home`; made there, with the folder, by the first process that asks.

    Raises `SettingsError` where the folder cannot be made or the file cannot be read.
    """
    path = home / _FILE
    try:
        make_private(home, ours=path.exists())
        if not path.exists():
            made = EmbeddedBucket(free_ports(S3_PORTS), secrets.token_hex(10), secrets.token_hex(20))
            _make(path, json.dumps(asdict(made)))
        return EmbeddedBucket(**json.loads(path.read_text()))
    except OSError as error:
        raise SettingsError(f"EXPORT_PIPELINE_HOME: {error.filename or home}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise SettingsError(
            f"{path} is damaged; remove the folder {home} to begin anew, or restore the file from a backup"
        ) from None


def embedded_secret_key(home: Path) -> str:
    """The Fernet key in `home` that encrypts stored credentials; made there by the first process that asks.

    Raises `SettingsError` where the file cannot be made or read.
    """
    path = home / _KEY_FILE
    try:
        make_private(home, ours=path.exists())
        if not path.exists():
            _make(path, base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"EXPORT_PIPELINE_HOME: {error.filename or home}: {error.strerror}") from None


def make_private(home: Path, *, ours: bool) -> None:
    """Makes the folder for this user alone; takes the rights of others from one that is `ours` already."""
    if ours:
        if stat.S_IMODE(home.stat().st_mode) & 0o077 and home.stat().st_uid == os.getuid():
            home.chmod(0o700)
    else:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def private_files() -> Iterator[None]:
    """What this process and those that it starts make in the block is for this user alone."""
    former = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(former)


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports on loopback that nobody listens on now."""
    chooser = random.SystemRandom()  # several processes look at the same time: they must not walk the same way
    for _ in range(200):
        first = chooser.randrange(LOWEST_PORT, HIGHEST_PORT - count)
        if not taken_ports(first, count):
            return first
    raise EmbeddedError(f"no {count} free neighbouring ports between {LOWEST_PORT} and {HIGHEST_PORT}")


def is_loopback(host: str) -> bool:
    """Whether the name of a host is one of this machine's own, which no other machine reaches."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def came_through_proxy(headers: Iterable[str]) -> bool:
    """Whether a request has a header that proxies add; `headers` are its names."""
    return any(name.lower() in _PROXY_HEADERS or name.lower().startswith("x-forwarded-") for name in headers)


def taken_ports(first: int, count: int) -> list[int]:
    """Those of `count` ports from `first` on that cannot be listened on."""
    return [port for port in range(first, first + count) if not _is_free(port)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _make(path: Path, content: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # has mode 600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)  # unlike a rename it never replaces what another process was quicker to make
        except FileExistsError:
            return
    finally:
        temporary.unlink()
