"""The built wheel, installed alone, is the whole product."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([*UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir", str(folder), str(ROOT)], cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment that holds the wheel, its demo extra and nothing else."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    run([*UV, "venv", "--quiet", "--python", sys.executable, str(environment)], cwd=wheel.parent)
    python = environment / "bin" / "python"
    install = [*UV, "pip", "install", "--quiet", "--python", str(python), "-c", str(ROOT / "requirements.lock")]
    # What `make setup` has installed lies in uv's cache, so that no network is needed, unless the cache was emptied.
    offline = attempt([*install, "--offline", f"{wheel}[demo]"], cwd=wheel.parent)
    if offline.returncode != 0:
        run([*install, f"{wheel}[demo]"], cwd=wheel.parent)
    return python.parent


def attempt(command: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command without settings or packages of the calling environment."""
    unwanted = ("EXPORT_PIPELINE_", "DAGSTER_", "PYTHON", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def run(command: list[str], *, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    done = attempt(command, cwd=cwd)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_migrations_deploy_files_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder, suffix in [
        ("exports/control/migrations/versions", ".py"),
        ("deploy", "dagster.yaml"),
        ("deploy", "workspace.yaml"),
    ]:
        assert [name for name in names if name.startswith(f"export_pipeline/{folder}") and name.endswith(suffix)]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "export_pipeline",
        "export_pipeline_sample",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_wheel_installed_alone_runs_the_demo_and_leaves_nothing_running(installed: Path, tmp_path: Path) -> None:
    output = run([str(installed / "export-pipeline"), "demo"], cwd=tmp_path)
    assert "part-00000.parquet" in output
    assert "SELECT" in output
    assert left_running(tmp_path) == []


@pytest.mark.slow
def test_the_sbom_names_everything_that_is_installed_with_its_licence(installed: Path, tmp_path: Path) -> None:
    (recipe,) = re.findall(r"cyclonedx-py (.*)", (ROOT / "Makefile").read_text().replace("\\\n", ""))
    options, _, _ = recipe.partition("--output-file")
    bom = tmp_path / "bom.json"
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), *options.split(), "--no-validate"]
    run([*command, "--output-file", str(bom), str(installed.parent)], cwd=ROOT)
    told = json.loads(bom.read_text())
    there = json.loads(run([*UV, "pip", "list", "--format", "json", "--python", str(installed.parent)], cwd=ROOT))
    named = {component["name"]: component for component in [told["metadata"]["component"], *told["components"]]}
    versions = {normal(name): component.get("version") for name, component in named.items()}
    assert versions == {normal(package["name"]): package["version"] for package in there}
    assert [name for name, component in named.items() if not component.get("licenses")] == []


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def left_running(folder: Path) -> list[str]:
    """The commands of live processes that work in the folder or name it."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            if str(folder) in command or process.cwd().startswith(str(folder)):
                found.append(command)
        except psutil.Error:
            continue
    return found
