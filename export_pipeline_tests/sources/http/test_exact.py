"""What an answer says is what `json` reads in it, each value with the text that it was written as."""

import json
import random
from typing import Any

import pytest

from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.http.exact import cells_of, listed, objects_of

SEPARATORS = [(",", ":"), (", ", ": "), (" ,\t", " :\r\n")]


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any value that JSON has, with what is hard to split."""
    kind = chance.randrange(9 if depth < 3 else 6)
    if kind == 6:
        return {name(chance): value(chance, depth + 1) for _ in range(chance.randrange(4))}
    if kind == 7:
        return [value(chance, depth + 1) for _ in range(chance.randrange(3))]
    if kind == 8:
        return [{}, []][chance.randrange(2)]
    return [
        None,
        chance.random() < 0.5,
        chance.randrange(-(10**25), 10**25),
        chance.uniform(-1e9, 1e-9),
        "".join(chance.choice('ab"\\\n\0✈é,:{}[] ') for _ in range(chance.randrange(6))),
        [chance.choice(["a", "b,c", "]", '"}']) for _ in range(chance.randrange(3))],
    ][kind]


def name(chance: random.Random) -> str:
    return "".join(chance.choice('abc_"\\é') for _ in range(chance.randrange(5)))


@pytest.mark.parametrize("seed", range(8))
def test_an_object_is_read_as_json_reads_it_and_refused_where_json_refuses_it(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(400):
        given = {name(chance): value(chance) for _ in range(chance.randrange(7))}
        text = json.dumps(given, ensure_ascii=chance.random() < 0.5, separators=chance.choice(SEPARATORS))
        cells = cells_of(text, lists=())
        assert {each: cell.value for each, cell in cells.items()} == given
        assert all(json.loads(cell.text) == cell.value and cell.text in text for cell in cells.values())

        place = chance.randrange(len(text))
        broken = text[:place] + chance.choice(["", ",", '"', "}", "]", ":", "x", "01"]) + text[place + 1 :]
        try:
            expected = json.loads(broken)
        except ValueError:
            expected = None
        if isinstance(expected, dict):
            assert {each: cell.value for each, cell in cells_of(broken, lists=()).items()} == expected
        else:
            with pytest.raises(BadAnswerError):
                cells_of(broken, lists=())


HALF = '"cut off \\ud83d"'
"""Half of a surrogate pair, as a text has it that was cut off within one."""


@pytest.mark.parametrize("text", [HALF, "NaN", "[-Infinity]", f'{{"a": {HALF}, "b": 0.10}}', f"[{HALF}]"])
def test_what_is_not_quite_json_keeps_its_text_as_do_its_neighbours(text: str) -> None:
    items = f'[ {{"a": {text}, "cost": 1.10}}, {{"cost": 12345678901234567890.0}} ]'
    cells = cells_of(f'{{"items": {items}, "next": 1e400}}', lists={"items"})
    assert cells["next"].text == "1e400"
    expected = [{"a": text, "cost": "1.10"}, {"cost": "12345678901234567890.0"}]
    assert [each.texts for each in cells.lists["items"]] == expected
    assert [each.texts for each in objects_of(items)] == expected


@pytest.mark.parametrize(
    "text", ['{"items":[],"next":1}', '{ "next" : 1 , "items" : [ ] }', '{"a":["x"],"items":[],"b":1}']
)
def test_an_empty_list_of_objects_is_one(text: str) -> None:
    assert listed(cells_of(text, lists={"items"}), "items", text) == []


def test_a_list_of_texts_is_no_list_of_objects() -> None:
    with pytest.raises(BadAnswerError, match="not an object"):
        cells_of('{"items":["a","b"],"next":1}', lists={"items"})
    with pytest.raises(BadAnswerError, match="not a list"):
        objects_of('{"a":1}')
    assert [dict(each) for each in objects_of(" [ ] ")] == []
