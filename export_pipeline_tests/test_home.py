"""Settings of the embedded parts."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from export_pipeline.errors import SettingsError
from export_pipeline.home import LOWEST_PORT, S3_PORTS, embedded_bucket, taken_ports
from export_pipeline.settings import load_settings


def test_embedded_settings_resolve_to_paths_and_keys_in_home_and_stay_the_same(tmp_path: Path) -> None:
    home = tmp_path / "a folder" / "home"
    settings = load_settings(home=home)
    resolved = settings.resolved()
    assert settings.embedded
    assert resolved.source_url is not None
    assert resolved.source_url.get_secret_value() == f"sqlite:///{home}/traces.db"
    assert resolved.control_url is not None
    assert resolved.control_url.get_secret_value() == f"sqlite:///{home}/control.db"
    assert resolved.bucket == "llm-traces"
    assert resolved.endpoint_url is not None
    assert resolved.endpoint_url.startswith("http://127.0.0.1:")
    assert resolved.private_endpoints
    assert resolved.access_key_id is not None
    assert load_settings(home=home).resolved() == resolved
    assert resolved.resolved() is resolved
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert sorted(path.name for path in home.iterdir()) == ["embedded.json", "secret.key"]
    assert resolved.secret_access_key is not None
    assert resolved.secret_access_key.get_secret_value() not in repr(resolved)


def test_a_relative_home_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings().resolved().home == tmp_path / ".export_pipeline"


def test_settings_that_are_not_embedded_are_left_as_they_are(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "h", source_url="sqlite:///s", control_url="sqlite:///c", bucket="b-1")
    assert settings.resolved() is settings
    assert not (tmp_path / "h").exists()


def test_processes_that_begin_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: embedded_bucket(tmp_path / "home"), range(16)))
    assert len(set(made)) == 1
    assert len(list((tmp_path / "home").iterdir())) == 1
    assert made[0].port >= LOWEST_PORT
    assert taken_ports(made[0].port, S3_PORTS) == []


@pytest.mark.parametrize("content", ["", "{", '{"port": 1}', "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "embedded.json").write_text(content)
    with pytest.raises(SettingsError, match=r"embedded\.json is damaged"):
        load_settings(home=tmp_path).resolved()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"EXPORT_PIPELINE_HOME.*file"):
        load_settings(home=tmp_path / "file" / "home").resolved()


def test_the_secret_is_hidden_in_the_repr(tmp_path: Path) -> None:
    made = embedded_bucket(tmp_path)
    assert json.loads((tmp_path / "embedded.json").read_text())["secret_access_key"] == made.secret_access_key
    assert made.secret_access_key not in repr(made)


@pytest.mark.parametrize("name", ["ENDPOINT_URL", "REGION", "ACCESS_KEY_ID"])
def test_what_describes_a_bucket_without_a_bucket_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"EXPORT_PIPELINE_{name}", "x")
    with pytest.raises(SettingsError, match=f"EXPORT_PIPELINE_{name} is set, but EXPORT_PIPELINE_BUCKET is not"):
        load_settings()


def test_a_home_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    load_settings(home=home).resolved()
    home.chmod(0o755)
    load_settings(home=home).resolved()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
