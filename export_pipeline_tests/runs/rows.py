"""Raw rows for the tests: ordinary ones, hostile ones, and the batches that hold them."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from export_pipeline.runs.schema import FIELD_BY_NAME, RUN_FIELDS, Kind
from export_pipeline.runs.times import MAX_MICROS, MIN_MICROS

TENANT = uuid.UUID("11111111-1111-4111-8111-111111111111")
SESSION = uuid.UUID("22222222-2222-4222-8222-222222222222")
ROOT = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
CHILD = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
LEAF = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
NOON = 1_767_960_000_000_000
"""2026-01-09T12:00:00Z in microseconds."""

ORDINARY: dict[str, Any] = {
    "id": CHILD,
    "tenant_id": str(TENANT),
    "session_id": str(SESSION),
    "trace_id": ROOT,
    "parent_run_id": ROOT,
    "parent_run_ids": f'["{ROOT}"]',
    "reference_example_id": None,
    "name": "ChatOpenAI",
    "run_type": "llm",
    "start_time": NOON,
    "end_time": NOON + 1_500_000,
    "first_token_time": NOON + 200_000,
    "status": "success",
    "is_root": False,
    "dotted_order": f"20260109T115959000000Z{ROOT}.20260109T120000000000Z{CHILD}",
    "trace_tier": "shortlived",
    "inputs": '{"messages": [{"role": "user", "content": "Grüße, 世界 🌍"}]}',
    "outputs": '{"generations": [[{"text": "ok"}]]}',
    "extra": '{"metadata": {"thread_id": "t-1"}, "runtime": {"sdk": "langsmith-py"}}',
    "events": '[{"name": "new_token"}]',
    "feedback_stats": '{"helpful": {"n": 1, "avg": 1.0}}',
    "tags": '["prod", "seq:step:1"]',
    "error": None,
    "total_tokens": 30,
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "total_cost": "0.000045",
    "prompt_cost": "0.000015",
    "completion_cost": "0.000030",
    "feedbacks": '[{"key": "helpful", "score": 1}]',
}

BESIDE: dict[str, Any] = {"id": LEAF, "dotted_order": f"20260109T115959000000Z{ROOT}.20260109T120000000000Z{LEAF}"}
"""What makes of the ordinary row another child of the same run."""


def batch(rows: Sequence[Mapping[str, Any]], *, as_text: bool = False) -> pa.RecordBatch:
    """A raw batch; `as_text` says whether times, counts and flags are text.

    Text may be given as bytes that are not UTF-8. Times are microseconds where they are not text.
    """
    arrays = []
    for field in RUN_FIELDS:
        cells = [row[field.name] for row in rows]
        typed = {Kind.TIME: pa.timestamp("us", tz="UTC"), Kind.COUNT: pa.int64(), Kind.FLAG: pa.bool_()}
        if as_text or field.kind not in typed:
            texts = [cell if cell is None or isinstance(cell, bytes) else str(cell).encode() for cell in cells]
            arrays.append(pa.array(texts, pa.binary()).view(pa.string()))
        elif field.kind is Kind.TIME:
            arrays.append(pa.array(cells, pa.int64()).view(typed[field.kind]))
        else:
            arrays.append(pa.array(cells, typed[field.kind]))
    return pa.RecordBatch.from_arrays(arrays, [field.name for field in RUN_FIELDS])


def row(**changes: Any) -> dict[str, Any]:
    """The ordinary row with some cells changed."""
    return {**ORDINARY, **changes}


HOSTILE_TEXTS: tuple[str | bytes, ...] = (
    "",
    " \t\n",
    "\x00",
    "a\x00b",
    "null",
    "NaN",
    "\u202eright to left\u202c",
    "e\u0301\u0323 Zalgo\u0489\u0488",
    "\ufeffbyte order mark",
    "\ufffd",
    "\U0001f469\u200d\U0001f52c",
    "ſK١２",
    "'; DROP TABLE runs; --",
    '"quoted", \\ and {brace}',
    "\r\n\x0b\x0c\x85\u2028",
    "../../etc/passwd",
    "${jndi:ldap://x}",
    "=cmd|' /C calc'!A0",
    b"\xff",
    b"caf\xe9",
    b"\xed\xa0\x80",
    b"\xed\xa0\xbd\xed\xb8\x80",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"ok \xf0\x9f\x98",
)
IDS = (
    ROOT,
    CHILD,
    LEAF,
    ROOT.upper(),
    "{" + CHILD + "}",
    "{" + CHILD,
    LEAF.replace("-", ""),
    "urn:uuid:" + ROOT,
    f" {ROOT}\n",
    "aaaa-aaaa-aaaa-4aaa-8aaa-aaaa-aaaa-aaaa",
    ROOT.replace("-", "", 1) + "-",
    ROOT + "0",
    ROOT + "\n",
    "0" + ROOT,
    "aaaaaaaaaaaa4aaa8aaa_aaaaaaaaaaa",
    "00000000-0000-0000-0000-000000000000",
    "run-1",
    "42",
)
TIMES = (
    "2026-01-09 12:00:00",
    "2026-01-09T12:00:00Z",
    "2026-01-09T12:00:00.1234567899",
    "2026-01-09 12:00:00.5+00",
    "2026-01-09t12:00:00,25z",
    "2026-01-09 12:00:00.123456+05:30",
    "2026-01-09 12:00-0330",
    "2026-01-09 12:00:00 +01:00:30",
    "2026-01-09 12:00:00 utc",
    "2026-01-09 12:00:00.5 +0000 UTC",
    "2026-01-09 12:00:00 +0530 IST m=+0.000123",
    "2026-01-09 12:00:00 -0300 -03",
    "2026-01-09 12:00:00 UTC UTC",
    "2026-01-09 12:00:00 +0000 utc",
    "2026-01-09 12:00:00 +0000 UTC m=1",
    "2026-01-09",
    "2026-01-09T12",
    "2026-02-29 00:00:00",
    "2024-02-29 00:00:00",
    "2026-01-09 24:00:00",
    "2026-01-09 23:59:60",
    "2026-01-09 23:59:59.",
    "2026-01-09 12:00:00+24:00",
    "2026-01-09 12:00:00+01:60",
    "2026-01-09 12:00:00+013015",
    "0000-01-01 00:00:00",
    "0001-01-01 00:00:00",
    "0001-01-01 00:00:00+00:01",
    "9999-12-31 23:59:59.9999999",
    "9999-12-31 23:59:59-00:01",
    "10000-01-01 00:00:00",
    "0044-03-15 00:00:00+00 BC",
    "1969-12-31 23:59:59.999999",
    "infinity",
    "-infinity",
    "1767960000",
    "1767960000.123456789",
    "-1.0000005",
    "1.76796e9",
    "253402300800",
    "-62135596800",
    "999999999999999999",
    "9223372036854775808",
    "1e99999",
    "1e-99999",
    "-1e-99999",
    "1e100000",
    "0x10",
    "1_000",
    "١٢",
    "now",
)
NUMBERS = (
    "0",
    "-0",
    "12",
    "+12",
    "-3",
    " 12 ",
    "12.0",
    "12.",
    ".5",
    "1e3",
    "1.5e1",
    "1.25e1",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "1" * 5000,
    "0." + "0" * 5000 + "1",
    "1e99999",
    "0e99999",
    "1e100000",
    "NaN",
    "Infinity",
    "-inf",
    "1_000",
    "1/2",
    "$5",
    "1,5",
    "٣",
    "0.0000000000005",
    "0.0000000000015",
    "0.00000000000150000000001",
    "-0.0000000000005",
    "0.000123400000",
    "999999.999999999999",
    "999999.9999999999994",
    "999999.9999999999995",
    "-999999.9999999999995",
    "1000000",
    "1e-400",
    "0.1" + "0" * 40,
)
LISTS = (
    "[]",
    " [ ] ",
    '["a"]',
    '["a","b"]',
    '["a", "b"]',
    '[", "]',
    '["a", ", ", "b"]',
    '["a" , "b"]',
    '[""]',
    '["\\"", "\\\\", "\\u0041"]',
    '["\\ud800"]',
    '["\\ud83d\\ude00"]',
    '["\x7f", "é", "世"]',
    '["\\n"]',
    '["a\nb"]',
    "[1, 2.50, 1e400, -0, null, true]",
    "[" + "1" * 5000 + "]",
    '[{"a": ["]", 1]}, [ "x" , 2 ], "z"]',
    "[NaN, Infinity]",
    '["a"',
    '["a",]',
    '["a"] ["b"]',
    '["a" "b"]',
    "{a,b}",
    '"a"',
    "{}",
    "a",
    "[" * 10_000,
    f'["{ROOT}"]',
    f'["{ROOT}", "{CHILD}"]',
    f'["{ROOT}","{CHILD.upper()}", "run-1", null, ""]',
)
DOTTED = (
    f"20260109T120000000000Z{ROOT}",
    f"20260109T120000000000Z{ROOT}.20260109T120000000001Z{CHILD}",
    f"20260109T120000000000Z{ROOT}.20260109T120000000001Z{CHILD}.20260109T120000000002Z{LEAF}",
    f"20260109T120000000000Z{ROOT.upper()}.20260109T120000000001Zrun-1",
    f"20260109T120000000000Z{ROOT}.",
    f"20260109T1200000000Z{ROOT}.20260109T1200000000Z{CHILD}",
    f"20260109T120000000000Z.20260109T120000000000Z{CHILD}",
    ".",
    "x.y",
)
JSONS = (
    "{}",
    " { } ",
    '{"a": 1}',
    '{"a": 1e400, "a": NaN, "b": 9223372036854775808}',
    '{"text": "\\ud800"}',
    "[1]",
    "null",
    "{",
    "{" * 10_000,
    "[" * 10_000 + "]" * 10_000,
    "1" * 5000,
    '{"a": 1} trailing',
    "not JSON",
)
WORDS = ("llm", "LLM", " Tool\n", "chain", "success", "ERROR", "pending", "interrupted", "shortlived", "LongLived", "x")
FLAGS = ("1", "0", "t", "f", "true", "false", "TRUE", " F ", "yes", "2")

_LIKELY: dict[Kind, Sequence[str]] = {
    Kind.ID: IDS,
    Kind.TIME: TIMES,
    Kind.JSON: JSONS,
    Kind.STRINGS: LISTS,
    Kind.COUNT: NUMBERS,
    Kind.COST: NUMBERS,
    Kind.FLAG: FLAGS,
}


def is_textual(name: str, *, as_text: bool) -> bool:
    """Whether a column's raw cells are text."""
    return as_text or FIELD_BY_NAME[name].kind not in {Kind.TIME, Kind.COUNT, Kind.FLAG}


def table(name: str, *, as_text: bool) -> list[Any]:
    """The hostile cells of a column that are written down here, null among them."""
    kind = FIELD_BY_NAME[name].kind
    if is_textual(name, as_text=as_text):
        likely = DOTTED if name == "dotted_order" else WORDS if kind is Kind.TEXT else _LIKELY[kind]
        return [None, *(_as_bytes(cell) for cell in (*likely, *HOSTILE_TEXTS))]
    if kind is Kind.FLAG:
        return [None, True, False]
    return [None, MIN_MICROS - 1, MIN_MICROS, -1, 0, MAX_MICROS, MAX_MICROS + 1, -(2**63), 2**63 - 1]


def ordinary(*, as_text: bool) -> dict[str, Any]:
    """The ordinary row; times as ISO 8601 where they are text."""
    times = {"start_time": "12:00:00", "first_token_time": "12:00:00.2", "end_time": "12:00:01.5"}
    return ORDINARY | ({name: f"2026-01-09T{clock}Z" for name, clock in times.items()} if as_text else {})


@st.composite
def rows(draw: st.DrawFn, *, as_text: bool) -> dict[str, Any]:
    """Raw rows with up to seven cells out of order."""
    found = ordinary(as_text=as_text)
    for name in draw(st.lists(st.sampled_from(sorted(found)), max_size=7)):
        written_down = st.sampled_from(table(name, as_text=as_text))
        if is_textual(name, as_text=as_text):
            found[name] = draw(written_down | st.text(max_size=12).map(_as_bytes) | st.binary(max_size=8))
        else:
            found[name] = draw(written_down)
    return found


def _as_bytes(cell: Any) -> bytes:
    return cell if isinstance(cell, bytes) else str(cell).encode(errors="surrogatepass")
