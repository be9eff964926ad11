"""The pages made from declarations are those that are committed."""

import pytest

from docs import generate


@pytest.mark.parametrize("name", ["apis.md", "states.md", "cli.md", "differences.md"])
def test_committed_pages_are_fresh(name: str) -> None:
    committed = (generate.FOLDER / name).read_text(encoding="utf-8")
    assert committed == generate.pages()[name], "stale: make docs"


def test_a_stale_page_is_noticed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    text = generate.states_page()
    assert not generate.is_fresh("states.md", text)
    (tmp_path / "states.md").write_text(text, encoding="utf-8")
    assert generate.is_fresh("states.md", text)
    assert not generate.is_fresh("states.md", text + "changed")
