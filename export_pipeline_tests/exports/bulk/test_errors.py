"""Errors that quote others: what of them is stored, and told of, on both databases."""

import json
import unicodedata

import pytest
import sqlalchemy as sa

from export_pipeline.errors import RetryableError
from export_pipeline.exports.bulk.cancel import fail_export
from export_pipeline.exports.bulk.units import plan_units
from export_pipeline.exports.bulk.worker import Retries, record_results
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.watch.notices import due_notices
from export_pipeline.exports.watch.notices_send import body_of
from export_pipeline_tests.exports.bulk.desk import START, Desk

HOSTILE = [
    "x" * 1_000_000,
    "x" * 1_999 + "\U0001f600" + "y",
    "a\x00b\ud800c\x1b[31m\r\n2026 INFO all is well\u2028",
    "\x00" * 3_000,
]


def is_plain(text: str) -> bool:
    return len(text) <= 2_000 and all(unicodedata.category(sign) not in {"Cc", "Cs", "Zl"} for sign in text)


@pytest.mark.parametrize("error", HOSTILE, ids=["long", "cut", "signs", "nothing"])
def test_a_stored_error_is_short_and_plain_wherever_it_stands(any_desk: Desk, error: str) -> None:
    made = any_desk.ask()
    fail_export(any_desk.control, made.id, error)
    stored = any_desk.export(made.id).error
    assert stored is not None
    assert is_plain(stored)
    assert stored.endswith("…") == (len(error) > 2_000)
    assert stored[:1] == error[:1].replace("\x00", "\ufffd")
    (notice,) = due_notices(any_desk.control, limit=10, oldest=0)
    posted = json.loads(body_of(notice))
    assert posted["detail"]["error"] == stored
    assert is_plain(posted["text"])
    assert posted["text"].startswith(f"export {made.id} failed: {stored[:1]}")


@pytest.mark.parametrize("error", HOSTILE, ids=["long", "cut", "signs", "nothing"])
def test_errors_of_units_and_days_are_short_and_plain_too(any_desk: Desk, error: str) -> None:
    made = any_desk.ask()
    plan_units(any_desk.control, made)
    first, *_ = any_desk.units(made.id)
    results = [(first, RetryableError(error))]
    record_results(any_desk.control, made.id, results, retries=Retries(most=0, seconds=0))
    unit = next(unit for unit in any_desk.units(made.id) if unit.id == first.id)
    assert is_plain(unit.errors["retry_0"])
    assert unit.errors["retry_0"][:1] == error[:1].replace("\x00", "\ufffd")
    day = {"export_id": str(first.export_id), "day": START.date(), "status": "failed", "epoch": 0, "updated_at": 0}
    with any_desk.control.begin() as connection:
        connection.execute(sa.insert(days).values(**day))
        connection.execute(sa.update(days).values(error=error))
        stored = connection.execute(sa.select(days.c.error)).scalar_one()
    assert stored == unit.errors["retry_0"]
