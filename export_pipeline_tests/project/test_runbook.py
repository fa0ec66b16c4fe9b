"""The runbook has everything that the product may say."""

import importlib
import pkgutil
import re
from pathlib import Path
from typing import get_args

import export_pipeline
from export_pipeline.errors import DestinationRefusedError, ExportPipelineError
from export_pipeline.exports.proof.verify.report import What
from export_pipeline.exports.watch.notices import KINDS
from export_pipeline.object_store.s3.classify import ErrorClass

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
HEADINGS = re.findall(r"^##+ (.*)$", RUNBOOK, re.MULTILINE)


def error_classes() -> set[type[ExportPipelineError]]:
    """Every error class of the package that people see; those with an underscore never leave their module."""
    for module in pkgutil.walk_packages(export_pipeline.__path__, "export_pipeline."):
        if ".migrations" not in module.name and not module.name.endswith("definitions"):
            importlib.import_module(module.name)
    found: set[type[ExportPipelineError]] = set()
    left = [ExportPipelineError]
    while left:
        below = left.pop().__subclasses__()
        left += below
        found |= set(below)
    return {each for each in found if each.__module__.startswith("export_pipeline.") and each.__name__[0] != "_"}


def test_every_error_has_a_section() -> None:
    named = set(re.findall(r"\w+Error", " ".join(HEADINGS)))
    assert {each.__name__ for each in error_classes()} == named


def test_every_kind_of_notice_has_a_section() -> None:
    assert {heading.strip("`") for heading in HEADINGS if heading.startswith("`")} == set(KINDS)


def test_every_finding_of_verify_is_in_the_table() -> None:
    rows = set(
        re.findall(r"^\| ([^|]+) \|", RUNBOOK.partition("## What `export-pipeline verify` finds")[2], re.MULTILINE)
    )
    assert rows - {"finding"} == {str(what) for what in What}


def test_every_class_of_a_refusal_is_in_the_table() -> None:
    section = RUNBOOK.partition(f"### {DestinationRefusedError.__name__}")[2].partition("###")[0]
    named = set(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)) - {"class"}
    assert named == set(get_args(ErrorClass)) - {"Unavailable", "Missing"}
