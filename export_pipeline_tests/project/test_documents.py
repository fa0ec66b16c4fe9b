"""What the documents say is what the code says."""

import hashlib
import itertools
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from export_pipeline import settings
from export_pipeline.exports.commit.rules import RUNNING, status_at_rest
from export_pipeline.local import demo_results, prepare
from export_pipeline_tests.project.documents import DOCUMENTS, ROOT, in_the_readme

LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def test_the_readmes_settings_are_those_of_the_code() -> None:
    assert in_the_readme("settings") == settings.documentation_table().strip()


def test_the_readmes_output_of_the_demo_is_of_the_demo_as_it_is() -> None:
    """`local/test_demo.py` runs it, smaller: the same lines, other numbers."""
    shown = in_the_readme("demo")
    assert f"\n\n{demo_results.QUERY}\n\n" in shown
    assert f"{prepare.DAYS * prepare.PROJECTS} days of {prepare.PROJECTS} projects in " in shown
    assert "/tmp" not in shown


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_in_a_document_leads_to_a_file(document: str) -> None:
    path = ROOT / document
    broken = [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]
    assert broken == []


def test_every_file_of_the_package_that_a_document_names_exists() -> None:
    pattern = re.compile(r"`(export_pipeline(?:_tests)?/[\w/-]*(?:\.\w+|/))`")
    named = {path for document in DOCUMENTS for path in pattern.findall((ROOT / document).read_text())}
    assert len(named) > 5
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_test_that_the_security_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    there = {
        name
        for path in (ROOT / "export_pipeline_tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 10
    assert named - there == set()


def test_the_architecture_names_every_room() -> None:
    picture = (ROOT / "ARCHITECTURE.md").read_text().split("## A day's way")[0]
    rooms = {folder.parent.name for folder in (ROOT / "export_pipeline").glob("*/__init__.py")}
    assert rooms - set(re.findall(r"\w+", picture)) == set()


def test_the_states_of_a_day_are_those_of_the_page_on_the_commit() -> None:
    table = re.findall(
        r"^\| (?:no row, or )?`(\w+)` \| (yes|no) \| (yes|no|maybe) \|",
        (ROOT / "docs" / "commit-protocol.md").read_text(),
        re.MULTILINE,
    )
    documented = {
        (status, intent == "yes", commit)
        for status, intent, commits in table
        for commit in ([True, False] if commits == "maybe" else [commits == "yes"])
    }
    at_rest = {
        (status_at_rest(committed=commit, pending=intent, cancelled=cancelled), intent, commit)
        for intent, commit, cancelled in itertools.product([True, False], repeat=3)
    }
    under_way = {(RUNNING, intent, commit) for intent, commit in itertools.product([True, False], repeat=2)}
    assert documented == at_rest | under_way


def test_the_hooks_before_a_commit_run_what_ci_runs_before_the_tests() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (line,) = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert [hook["entry"] for hook in repository["hooks"]] == [
        f"make {target}" for target in line.split()[1:] if target != "test"
    ]


def test_every_command_that_a_document_names_exists() -> None:
    import typer

    from export_pipeline.cli.app import app

    commands = typer.main.get_command(app)
    assert isinstance(commands, typer.core.TyperGroup)
    text = "\n".join((ROOT / document).read_text() for document in DOCUMENTS)
    named = set(re.findall(r"(?:^|[`(] ?)export-pipeline ([a-z][a-z-]*)", text, re.MULTILINE))
    assert len(named) > 5
    assert named - commands.commands.keys() == set()


def test_every_make_target_that_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target for document in DOCUMENTS for target in re.findall(r"`make ([a-z-]+)", (ROOT / document).read_text())
    }
    assert named
    assert named <= targets


@pytest.mark.parametrize("name", ["requirements.lock", "engines.lock", "stores.lock"])
def test_the_lock_pins_every_dependency_by_hash_and_names_no_address(name: str) -> None:
    lock = (ROOT / name).read_text()
    entry = re.compile(
        r"(?P<name>[a-z0-9._-]+)==[0-9][0-9a-z.+!]*( ; [a-z_'0-9 .<>=!()]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n",
        re.IGNORECASE,
    )
    entries = list(entry.finditer(lock))
    assert "".join(found[0] for found in entries) == lock
    assert declared_dependencies(name) - {found["name"].lower() for found in entries} == set()


def test_setup_refuses_a_package_with_another_hash(tmp_path: Path) -> None:
    recipe = (ROOT / "Makefile").read_text().replace("\\\n", "")
    installs = re.findall(r"pip install.* -r (?:\S+)", recipe)
    assert len(installs) == 4
    assert all("--require-hashes" in install for install in installs)
    wheel, lock = tmp_path / "small-1.0-py3-none-any.whl", tmp_path / "small.lock"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        archive.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("small-1.0.dist-info/RECORD", "")
    for digest, code in ((hashlib.sha256(wheel.read_bytes()).hexdigest(), 0), ("0" * 64, 1)):
        lock.write_text(f"small==1.0 --hash=sha256:{digest}\n")
        source = ["--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / digest)]
        command = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--no-cache",
            "--require-hashes",
            *source,
            "-r",
            str(lock),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, "Hash mismatch" in done.stderr) == (code, bool(code)), done.stderr


def test_actions_are_pinned_by_commit() -> None:
    used = [
        line.strip()
        for workflow in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
        for line in workflow.read_text().splitlines()
        if "uses:" in line
    ]
    pinned = re.compile(r"- uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert len(used) >= 6
    assert [line for line in used if not pinned.fullmatch(line)] == []


def declared_dependencies(lock: str) -> set[str]:
    """The names that pyproject.toml lists for a lock: for running, the demo and development, or for tests alone."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    apart = {f"{group}.lock": groups.pop(group) for group in ("engines", "stores")}
    extras = project["project"]["optional-dependencies"].values()
    lists = [apart[lock]] if lock in apart else [project["project"]["dependencies"], *extras, *groups.values()]
    names = [re.match(r"[A-Za-z0-9._-]+", item) for items in lists for item in items]
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("export_pipeline.cli.app", ("dagster", "polars", "pyarrow", "sqlalchemy", "boto3", "pydantic", "rich.table")),
        ("export_pipeline.definitions", ("pandas", "pyarrow.dataset", "typer", "chdb", "duckdb")),
    ],
)
def test_start_up_does_not_import_what_it_does_not_need(modules: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print([name for name in {absent!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"
