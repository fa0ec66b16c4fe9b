"""PostgreSQL before 16 cannot be asked whether a text is JSON: what parses it there, against what newer ones say."""

import json
import random
from contextlib import closing
from typing import Any

import pytest

from export_pipeline.sources.postgres import json_text
from export_pipeline.sources.postgres.json_text import is_json
from export_pipeline_tests.servers import Postgres
from export_pipeline_tests.sources.stores import START, Store, matching

pytestmark = pytest.mark.slow

SIGNS = [*"{}[]:,\"\\ \t\n-+.0123456789eEutrfalsn/b'\x01\x02\x1fé🌍", "null", "true", '"a"', "\\u00e9"]
WRITTEN = [
    "", " ", "null", "nul", "NaN", "1 2", "01", "-", "-0", "1.", ".5", "1e5", "1E+05", "1e", "[1,]", "[,1]", "[]]",
    '{"a":1}', "{'a':1}", '{"a"}', '{"a":}', "{1:2}", '{"a":1,}', '{"a":1 "b":2}', '"a" "b"', '["a""b"]', "truefalse",
    '"\\q"', '"\\u12"', '"\\ud83d"', '"a\nb"', '"a\\nb"', '"', '"a', 'a"', '"a\\"', "[\x02]", "\x01", "{\x01:\x02}",
    "\ufeff1", "[" * 150 + "]" * 150, "[" * 150 + "]" * 149, '{"a":' * 99 + "1" + "}" * 99, " [ ] ", "[1\f]", "[1\v]",
    "\xa01",
]  # fmt: skip


def mutated(chance: random.Random) -> str:
    """JSON with some of its signs changed, left out or put in."""
    text = list(json.dumps(value_of(chance, 3), ensure_ascii=chance.random() < 0.5))
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        place = chance.randrange(len(text) + 1)
        text[place : place + chance.randrange(2)] = chance.choice([[], [chance.choice(SIGNS)]])
    return "".join(text)


def value_of(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(8 if depth else 6)
    if kind < 6:
        return [None, True, -12, 1.5e-9, 'é "x" \\ \n', ""][kind]
    items = [value_of(chance, depth - 1) for _ in range(chance.randrange(4))]
    return items if kind == 6 else {f"key {number}": item for number, item in enumerate(items)}


def test_a_text_is_parsed_as_postgresql_parses_it(postgres: Postgres) -> None:
    chance = random.Random(16)
    texts = [*WRITTEN, *(mutated(chance) for _ in range(4_000))]
    texts += ["".join(chance.choices(SIGNS, k=chance.randrange(7))) for _ in range(4_000)]
    listed = ", ".join("('" + text.replace("'", "''") + "')" for text in dict.fromkeys(texts))
    rows = postgres.execute(
        f"SELECT t, pg_input_is_valid(t, 'json'), {is_json('t', version=140_000)} FROM (VALUES {listed}) AS x(t)"
    )
    assert [(text, valid) for text, valid, parsed in rows if parsed is not valid] == []
    assert min(sum(valid for _, valid, _ in rows), sum(not valid for _, valid, _ in rows)) > 500


def test_filters_mean_the_same_on_servers_before_16(postgres_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres_store.runs({"tags": "TEXT", "extra": "TEXT"}, unique=True)
    for number, (tags, extra) in enumerate(
        [('["a", "b"]', '{"metadata": {"env": "prod"}}'), ("a", "no JSON"), ('["a"', "{"), (None, None), ("[]", "{}")]
    ):
        postgres_store.add(number, START, tags=tags, extra=extra)
    conditions = ['has(tags, "a")', 'and(eq(metadata_key, "env"), eq(metadata_value, "prod"))']
    with closing(postgres_store.source()) as source:
        newer = [matching(source, condition) for condition in conditions]
    monkeypatch.setattr(json_text, "ASKED_FROM", 990_000)
    with closing(postgres_store.source()) as source:
        assert [matching(source, condition) for condition in conditions] == newer == [[0, 1], [0]]
