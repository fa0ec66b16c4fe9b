"""The embedded bucket: the S3 server over `HOME/s3`, on the recorded port, with the recorded keys."""

import time
from types import TracebackType
from typing import Self

from export_pipeline.errors import EmbeddedError
from export_pipeline.home import S3_PORTS, embedded_bucket, taken_ports
from export_pipeline.local.seaweedfs import Identity, SeaweedFS, probe_client
from export_pipeline.settings import Settings

_PATIENCE = 30.0


class EmbeddedStore:
    """A context manager within which the embedded bucket is served; for other settings it does nothing.

    It comes back from its start at once: call `wait_ready` before the first use of the bucket. Where another process of
    ours already serves this `HOME` (`make dev` beside `make demo`) that server is used, and left running at the end;
    `exclusive` raises `EmbeddedError` instead. `settings` may be resolved or not; `resolved` are the ones to work with.
    """

    def __init__(self, settings: Settings, *, exclusive: bool = False) -> None:
        self.resolved = settings.resolved()
        self._exclusive = exclusive
        self._server = _server(self.resolved) if settings.embedded else None
        self._mine = False

    @property
    def pid(self) -> int | None:
        """The server's process id, where this object started it and it runs."""
        return self._server.pid if self._server else None

    @property
    def ended(self) -> bool:
        """Whether the server that this object started has ended by itself."""
        return self._mine and self.pid is None

    def __enter__(self) -> Self:
        if self._server is None:
            return self
        port = self._server.port
        if port is not None and (taken := taken_ports(port, S3_PORTS)):
            if self._exclusive or port not in taken:
                raise EmbeddedError(
                    f"the embedded S3 server of {self.resolved.home} needs the ports {port} to {port + S3_PORTS - 1}, "
                    f"and {', '.join(map(str, taken))} is in use, perhaps by another `export-pipeline demo` or `dev` "
                    f"over the same folder; end it, or set EXPORT_PIPELINE_HOME to another folder"
                )
        else:
            self._server.launch()
            self._mine = True
        return self

    def wait_ready(self) -> None:
        """Waits until the bucket takes a PUT. Raises `EmbeddedError` where it does not."""
        if self._server is None:
            return
        if self._mine:
            self._server.wait_ready()
            return
        deadline = time.monotonic() + _PATIENCE
        while not _answers(self.resolved):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"port {self._server.port}, on which the embedded S3 server of {self.resolved.home} is to run, "
                    "is in use by something else; end it, or set EXPORT_PIPELINE_HOME to another folder"
                )
            time.sleep(0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._mine:
            self._server.stop()


def _server(resolved: Settings) -> SeaweedFS:
    recorded = embedded_bucket(resolved.home)
    owner = Identity("export-pipeline", recorded.access_key_id, recorded.secret_access_key)
    return SeaweedFS(resolved.home / "s3", identities=[owner], port=recorded.port, buckets=[resolved.bucket or ""])


def _answers(resolved: Settings) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    recorded = embedded_bucket(resolved.home)
    client = probe_client(recorded.endpoint_url, recorded.access_key_id, recorded.secret_access_key)
    try:
        client.head_bucket(Bucket=resolved.bucket)
        return True
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
