"""Hostile rows for filters, as a store holds them, and what the reference says about them."""

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.sources.filter_reference import matches
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, uuid

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
HOSTILE = [
    "", " ", "a", "A", "b", "a_b", "a%b", "a\\b", "50%", "é", "É", "ß", "😀", "a\nb", "\u202eabc", "ſ", "K", "İ",
    "null", "'; DROP TABLE runs; --", '" OR 1=1 --', ":filter_1", "$1", "?", "%s", "{}", "1", "1.0", "x" * 3000,
    "prod", "PROD", "a.b", ".", "a.", "say \"hi\"", "tab\tend", "\x7f", "\ufffd", "chain", "Zürich",
]  # fmt: skip
LONG = "k" * 1001
PAYLOADS = [
    None, "", "{}", "[]", "null", '"a"', "5", "{bad", '{"a":1,}', '{"a":NaN}', '{"a":Infinity}', "{'a':1}",
    '{"a":01}', '{"a":1.}', '{"a":"\x01"}', '{"a":1} x', '\ufeff{"a":1}', '{"a":"\\x"}', '{"a":"\\ud83"}',
    '{"a":tru}', "<html>a</html>", "{" * 300, "[" * 10_000, "[" * 2_000 + "]" * 2_000,
    '{"a":' * 201 + "1" + "}" * 201, '{"a":' * 200 + "1" + "}" * 200, '{"a":"' + "[" * 500 + '"}',
    '{"a":' + "[[]," * 150 + "1" + "]" * 150 + "}", '{"a":"\\"' + "{" * 250 + '","b":2}',
    '{"a":[' + ",".join(["[]"] * 400) + "]}", '{"a":1}', '{"a":1.0}', '{"a":"1"}', '{"a":true}', '{"a":false}',
    '{"a":null}', '{"a":[]}', '{"a":{}}', '{"a":"a"}', '{"a":"prod","b":"a"}', '{"a":"b","b":"prod"}',
    '{"a":1,"a":2}', '{"a":{"b":1,"b":"a"}}', '{"a":{"b":"prod"}}', '{"a.b":"prod"}',
    '{"a":[{"b":1},{"b":"prod"},[[{"b":null}]],5,"a"]}', '{"":"a","":{"":1}}', '{" ":" "}', '{".":"."}',
    '{"a":1e400,"b":1e-400}', '{"a":1e2}', '{"a":100}', '{"a":1e5000}', '{"a":' + "9" * 1100 + "}", '{"a":-0}',
    '{"a":-0.0e0}', '{"a":12345678901234567890.1}', '{"a":12345678901234567890.10}', '{"a":9007199254740993}',
    '{"a":9007199254740992}', '{"a":"\\u0000"}', '{"a":"\\\\u0000"}', '{"a":"\\\\\\u0000\\u0000"}', '{"\\u0000":"a"}',
    '{"a":"\\ud800"}', '{"a":"\\udc00"}', '{"a":"\\ud83d\\ude00"}', '{"a":"\\uD83D\\uDE00\\ude00"}',
    '{"a":"\\ud800\\ud83d\\ude00"}', '{"a":"\\\\ud800\\udc00"}', '{"a":"\\\\\\ud83d\\ude00"}',
    '{"a":"\\u00e9","b":"É"}', '{"a":"x\\ny\\t\\"z\\\\"}', '{"' + LONG[:1000] + '":1}', '{"' + LONG + '":{"b":1}}',
    '{"é":"😀"}', '{"a":"50%"}', '{"a":"a_b"}', '{"a":"' + "x" * 3000 + '"}', '{"\\"":"\\""}', ' \t\r\n{"a" : "a"}\n',
    '\u00a0{"a":1}', '\x0b{"a":1}', "{\"a\":1}\x0c", "'; DROP TABLE runs; --",
]  # fmt: skip
EXTRAS = [
    *PAYLOADS[:30], *(f'{{"runtime":{{}},"metadata":{payload}}}' for payload in PAYLOADS[30:] if payload),
    '{"metadata":{"a":1},"metadata":{"a":2}}', '{"metadata":[{"a":1}]}', '{"Metadata":{"a":1}}',
    '[{"metadata":{"a":1}}]',
]  # fmt: skip
TAGS = [
    None, "", " ", "[]", '["a"]', '["a","b"]', '[ "a" , "é" ]', '["A"]', "a", '"a"', "null", "[null]", "[1, 1.0]",
    '[["a"], {"b": 1}]', '["a"', "[NaN]", '["\\ud800"]', '["\\u0000"]', '["50%"]', '[true,"true"]', '["a.b"]', "{}",
    "[" * 5000, '["\\u00e9"]',
]  # fmt: skip
NUMBERS = [
    None, "", " ", "0", "12", "12.0", " 12 ", "1.2e1", "120e-1", "+12", "-5", "12.5", ".5", "5.", "1e400", "1e-400",
    "1e99999", "NaN", "Infinity", "0x10", "1_000", "٣", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "9" * 5000, "1e18", "1e19", "12,5", "e5", "--1", "0.5", "0.50", "abc",
    "1" + "0" * 990 + "e-990",
]  # fmt: skip
ENDS = [
    None, "", "never", "2026-03-14T12:00:05Z", "2026-03-14 12:00:05.000001+00:00", "2026-03-14 14:00:05+02:00",
    "2026-03-14", "2026-03-14T12:00", "1773489605", "1773489605.5", "infinity", "99999999999999", "-99999999999999",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "2026-02-30", "2026-03-14T12:00:05.000000999Z",
]  # fmt: skip
DOTTED = [
    None, "", "20260314T120000000000Za", "20260314T120000000000Za.20260314T120000000001Zb", "a.b",
    "20260314T120000000000Z.x", "20260314T120000000000Za.", "20260314T120000000000Za\n.20260314T120000000001Zb\n",
]  # fmt: skip
PATHS = [
    "20260314T120000000000Z{own}", "20260314T120000000000Zrun-0.20260314T120000000001Z{own}",
    f"20260314T120000000000Z{uuid(5)}.20260314T120000000001Zrun-1.20260314T120000000002Z{{own}}",
]  # fmt: skip
"""Of which the last segment is the run's own, and the parent one that occurs in `parent_run_id`."""
CELLS: dict[str, list[Any]] = {
    "name": [None, *HOSTILE],
    "run_type": ["llm", "LLM", " llm\n", "", None, "agent", "ſ", "İ"],
    "error": [None, None, *HOSTILE],
    "end_time": ENDS,
    "status": [None, None, None, "success", "SUCCESS", " error ", "", "odd", "K"],
    "is_root": [None, "", "1", "TRUE", " f ", "0", "yes", "false", "1.0", "0.0"],
    "parent_run_id": [None, None, "", " ", "run-1", uuid(1)],
    "dotted_order": DOTTED,
    "trace_id": [None, None, None, "", " ", "run-1", f"{{{uuid(7)}}}"],
    "parent_run_ids": [
        *TAGS,
        f'["{uuid(9)}", "run-1"]',
        f'["{uuid(1)}"]',
        *(f'[{each}"{uuid(8)}", "b"]' for each in ("", '"", ', 'null, "null", ', '" ", 5, ')),
    ],
    "inputs": PAYLOADS,
    "outputs": PAYLOADS,
    "extra": EXTRAS,
    "tags": TAGS,
    "total_tokens": NUMBERS,
}
ODD_IN_SQLITE: dict[str, list[Any]] = {
    "name": ["a\0b", b"\xffa", 5, 1e20],
    "error": ["\0", b"\xc3(", 0],
    "end_time": [1773489605, 1773489605.25, 1e300, b"2026-03-14"],
    "is_root": [1, 0, 1.0, 0.0],
    "inputs": ['{"a":"\0"}', b'{"a":"\xff"}', 5, '{"a":1}\0'],
    "tags": ['["a"]\0', b'["\xff"]', 7],
    "total_tokens": [12, 12.0, 12.5, 2**62, 1e300, b"12"],
}
IDS = [
    "run-1", "RUN-1", " run-1", "'; --", "é", str(UUID(int=7)).upper(), f"{{{UUID(int=8)}}}", UUID(int=9).hex,
    f"urn:uuid:{UUID(int=10)}",
]  # fmt: skip
SCORES = [*NUMBERS, "1", "true"]
ROWS = 130


class Filled:
    """A store with hostile rows, and what they are."""

    def __init__(self, store: Store) -> None:
        pick = random.Random(20260314)
        cells = {
            name: [*pool, *(ODD_IN_SQLITE.get(name, []) if store.dialect == "sqlite" else [])]
            for name, pool in CELLS.items()
        }
        kinds = dict.fromkeys(cells, "" if store.dialect == "sqlite" else "TEXT")
        store.projects(PROJECT)
        store.table("runs", {"id": "TEXT", "session_id": "{uuid}", "start_time": "{time}", **kinds})
        store.table("feedbacks", {"id": "TEXT", "run_id": "TEXT", "key": "TEXT", "score": "TEXT"})
        self.rows: list[dict[str, Any]] = []
        self.feedback: dict[str, list[tuple[Any, Any]]] = {}
        for number in range(ROWS):
            # Every cell of every pool comes up; most others are null, so that conditions are seen by themselves.
            some = {name: pool[number % len(pool)] if pick.random() < 0.6 else None for name, pool in cells.items()}
            some["run_type"] = some["run_type"] or "llm"
            run = IDS[number] if number < len(IDS) else uuid(number)
            start = f"2026-03-14T12:00:{number % 6:02}.{number % 2:06}+00:00"
            row = {**some, "id": run, "start_time": start}
            if number % 4 == 0:
                row["dotted_order"] = pick.choice(PATHS).format(own=run)
            self.rows.append(row)
            self._insert(store, {"session_id": PROJECT, **row})
            for index in range(number % 3):
                record = (pick.choice([None, *HOSTILE[:12]]), pick.choice(SCORES))
                self.feedback.setdefault(run, []).append(record)
                store.insert("feedbacks", id=f"{number}-{index}", run_id=run, key=record[0], score=record[1])
        self.source: RunSource = store.source()

    @staticmethod
    def _insert(store: Store, row: dict[str, Any]) -> None:
        """Bytes become text that may not be UTF-8."""
        marks = ("CAST(? AS TEXT)" if isinstance(value, bytes) else "?" for value in row.values())
        store.run(f"INSERT INTO runs ({', '.join(row)}) VALUES ({', '.join(marks)})", *row.values())

    def found(self, tree: Filter) -> list[str]:
        """The ids of the rows that the source gives."""
        ids: list[str] = []
        with self.source.open(ProjectKey(PROJECT), Window.of_day(DAY), ["id"], filter=tree) as snapshot:
            for batch in snapshot.batches():
                ids += batch.column("id").to_pylist()
            assert snapshot.fingerprint.rows == len(ids)
        counted = self.source.days(ProjectKey(PROJECT), Window.of_day(DAY), filter=tree)
        assert (counted[DAY].rows if counted else 0) == len(ids)
        return sorted(ids)

    def wanted(self, tree: Filter) -> list[str]:
        """The ids of the rows that the reference names."""
        return sorted(row["id"] for row in self.rows if matches(tree, row, self.feedback.get(row["id"], [])))
