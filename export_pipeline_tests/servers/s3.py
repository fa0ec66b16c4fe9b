"""SeaweedFS and rclone, the S3 servers, as processes."""

import os
import secrets
import shutil
import subprocess
import sysconfig
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from export_pipeline.home import free_ports
from export_pipeline.local.seaweedfs import REGION, Identity, SeaweedFS, probe_client
from export_pipeline_tests.servers.waiting import wait_for

BUCKET = "exports"
"""The bucket that is there from the start, to which the limited identities of `Weed` are bound."""


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
        # Each bucket has volumes of its own, of which there are as many as the disk could hold full: too few for a
        # bucket a test.
        more = ("-volume.max=100000",)
        self.server = SeaweedFS(folder, identities=tuple(self.users.values()), buckets=(BUCKET,), arguments=more)
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

        assert self.alive, (self.folder / "log").read_text()[-3000:]
        try:
            self.client().list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True
