"""What several tests of object stores use."""

import urllib.request
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of moto's server: S3, STS and IAM, with rights; nothing is there at first."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    # All servers of a process share what they hold.
    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST")).close()
    yield address
    server.stop()
