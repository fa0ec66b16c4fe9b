"""A filter in the words of Langfuse's API, where both mean the same by them; anything else is refused."""

from typing import Any

from export_pipeline.errors import InputError
from export_pipeline.runs.filter_tree import And, Compare, Filter, Has

_TYPES = {"llm": "GENERATION", "embedding": "EMBEDDING", "tool": "TOOL", "retriever": "RETRIEVER"}


def conditions_of(tree: Filter | None) -> list[dict[str, Any]]:
    """Conditions that all have to hold; raises `InputError` that names what the API cannot be asked."""
    if tree is None:
        return []
    if isinstance(tree, And):
        return [condition for each in tree.operands for condition in conditions_of(each)]
    condition = _condition(tree)
    if condition is None:
        raise InputError(
            f"a trace store behind Langfuse's API cannot be asked for {tree}: a filter there may use and, has with "
            'tags, and eq with name, run_type (llm, embedding, tool, retriever, chain) or status ("error")'
        )
    return [condition]


def _condition(tree: Filter) -> dict[str, Any] | None:
    if isinstance(tree, Has):
        return {"type": "arrayOptions", "column": "tags", "operator": "any of", "value": [tree.text]}
    if not isinstance(tree, Compare) or tree.operator != "eq" or not isinstance(tree.value, str):
        return None
    found: dict[str, Any] | None = None
    if tree.field == "name":
        found = {"type": "string", "column": "name", "operator": "=", "value": tree.value}
    elif tree.field == "run_type" and tree.value in _TYPES:
        found = _of_type("any of", [_TYPES[tree.value]])
    elif tree.field == "run_type" and tree.value == "chain":
        found = _of_type("none of", list(_TYPES.values()))
    elif tree.field == "status" and tree.value == "error":
        found = {"type": "stringOptions", "column": "level", "operator": "any of", "value": ["ERROR"]}
    return found


def _of_type(operator: str, types: list[str]) -> dict[str, Any]:
    return {"type": "stringOptions", "column": "type", "operator": operator, "value": types}
