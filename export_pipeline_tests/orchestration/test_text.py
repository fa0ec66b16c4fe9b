"""Names from the trace store as the UI shows them."""

from export_pipeline.orchestration.text import code, one_line


def test_control_characters_and_line_breaks_are_replaced() -> None:
    assert one_line("a\nb\x00c\u202ed") == "a�b�c�d"


def test_a_name_of_a_megabyte_is_cut() -> None:
    assert one_line("x" * 1_000_000) == "x" * 199 + "…"


def test_a_name_is_shown_as_code_so_that_nothing_in_it_becomes_markdown() -> None:
    assert code("[a](b) *c* <d> e_f-g") == "`[a](b) *c* <d> e_f-g`"
    assert code("a`b") == "``a`b``"
    assert code("``a`") == "``` ``a` ```"
