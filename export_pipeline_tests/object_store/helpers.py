"""Stores under test, over the real servers, and a server that answers what no store does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.servers import S3Server

PART = 5 * 1024 * 1024
"""The smallest part that S3 allows, bar the last."""


def config_for(server: S3Server, bucket: str, **changes: Any) -> DestinationConfig:
    """The server as a destination."""
    given: dict[str, Any] = {"bucket": bucket, "endpoint_url": server.endpoint_url, "allow_private": True}
    return DestinationConfig(**(given | changes))


def store_for(
    server: S3Server, bucket: str, *, identity: str = "admin", patience: float = 20.0, **changes: Any
) -> S3Store:
    """A store on one of the server's buckets, for one of its users."""
    credentials = Credentials(*server.identity(identity))
    return S3Store(config_for(server, bucket, **changes), credentials, patience=patience)


@contextmanager
def answering(head: bytes, piece: bytes, *, pause: threading.Event | None = None) -> Iterator[tuple[str, list[int]]]:
    """A server that sends `head`, then `piece` again and again, each after a pause; its address, and what went out."""
    sent = [0]
    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while not closing.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        connection.sendall(head)
                        while piece and not closing.is_set():
                            if pause is not None and pause.wait(0.05):
                                break
                            connection.sendall(piece)
                            sent[0] += len(piece)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", sent
        finally:
            closing.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
