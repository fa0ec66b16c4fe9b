"""The servers that the benchmarks run on: PostgreSQL and SeaweedFS, and what they took."""

import re
import secrets
import shutil
import sys
import sysconfig
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from export_pipeline.home import free_ports
from export_pipeline.local.seaweedfs import REGION, Identity, SeaweedFS, probe_client
from export_pipeline_tests.servers import Postgres

BUCKET = "bench"
SCRIPTS = Path(sysconfig.get_path("scripts"))


class KeptPostgres(Postgres):
    """A server whose data lie in a given folder and outlive it, so that a large store is written only once."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        shutil.rmtree(self.folder)
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._bin = self._reachable_programs()

    def open(self) -> None:
        """Makes the data folder where there is none, and starts."""
        known = self.folder / "password"
        if (self.folder / "data").exists():
            self.password = known.read_text()
        else:
            self.password = secrets.token_hex(16)
            self.initialise()
        self.start()

    def stop(self) -> None:
        """Ends the server and keeps its data."""
        self._end()

    @property
    def psql(self) -> Path:
        """The program."""
        return self._bin / "psql"


@dataclass(frozen=True)
class Usage:
    """CPU seconds of both servers since they began, and S3 requests."""

    postgres: float
    s3: float
    requests: int

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.postgres - other.postgres, self.s3 - other.s3, self.requests - other.requests)


class Servers:
    """PostgreSQL over a folder that is kept, SeaweedFS over one that is emptied first; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.user = Identity("bench", "bench-key", "bench-secret")
        self._metrics_port = free_ports(1)
        shutil.rmtree(self.folder / "s3", ignore_errors=True)
        self.weed = SeaweedFS(
            self.folder / "s3",
            identities=[self.user],
            buckets=[BUCKET],
            arguments=[f"-metricsPort={self._metrics_port}"],
        )
        self.postgres = KeptPostgres(self.folder / "postgres")

    def __enter__(self) -> Self:
        if shutil.which("weed", path=str(SCRIPTS)) is None:
            sys.exit("SeaweedFS is not installed; run `make setup`")
        self.weed.start()
        try:
            self.postgres.open()
        except BaseException:
            self.weed.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.postgres.stop()
        self.weed.stop()

    def usage(self) -> Usage:
        """What both have used so far; processes of PostgreSQL that have ended count too."""
        return Usage(_cpu(self.postgres.pid), _cpu(self.weed.pid), self._requests())

    def _requests(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return sum(
            int(float(value)) for value in re.findall(r"^SeaweedFS_s3_request_total{.*} (\S+)$", text, re.MULTILINE)
        )

    def stored_bytes(self, prefix: str) -> int:
        """The size of all objects below a prefix, manifests left out."""
        client = probe_client(self.weed.endpoint_url, self.user.access_key_id, self.user.secret_access_key)
        try:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            found = [item for page in pages for item in page.get("Contents", ())]
        finally:
            client.close()
        return sum(item["Size"] for item in found if "/_export_pipeline/" not in item["Key"])

    def s3_options(self) -> dict[str, str]:
        """What a client needs to know of the bucket."""
        return {
            "endpoint": self.weed.endpoint_url,
            "bucket": BUCKET,
            "region": REGION,
            "key": self.user.access_key_id,
            "secret": self.user.secret_access_key,
        }

    def settings(
        self, *, source_url: str, control: Path, prefix: str, endpoint_url: str | None = None
    ) -> dict[str, str]:
        """The product's settings as environment variables; `endpoint_url` names a proxy before the bucket."""
        values = {
            "SOURCE_URL": source_url,
            "CONTROL_URL": f"sqlite:///{control}",
            "BUCKET": BUCKET,
            "PREFIX": prefix,
            "REGION": REGION,
            "ENDPOINT_URL": endpoint_url or self.weed.endpoint_url,
            "ALLOW_PRIVATE_ENDPOINTS": "true",
            "ACCESS_KEY_ID": self.user.access_key_id,
            "SECRET_ACCESS_KEY": self.user.secret_access_key,
        }
        return {f"EXPORT_PIPELINE_{name}": value for name, value in values.items()}


def _cpu(pid: int | None) -> float:
    """CPU seconds of a process, of the children it has waited for, and of those that live."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    total: float = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            used = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total
