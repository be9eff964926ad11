"""Each line about an answer names a conversation that is held, and a reason."""

import ast

from docs.differences import ANSWERS, TESTS


def held() -> set[str]:
    """The names of all conversations, read from the files that declare them."""
    return {
        node.name
        for file in (TESTS / "compat" / "wire").glob("wire_*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }


def test_lines_are_about_conversations() -> None:
    lines = {line: why for table in ("OURS", "OLDER", "NEWER") for line, why in ANSWERS[table].items()}
    assert {name for name, _ in lines} <= held()
    assert all(lines.values())


def test_no_step_is_in_two_tables() -> None:
    assert not ANSWERS["OURS"].keys() & (ANSWERS["OLDER"].keys() | ANSWERS["NEWER"].keys())
