"""Text that others wrote reaches the terminal without control characters and without markup."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from progress.adapters import terminal

HOSTILE = "[/b]x\x1b[31m\x9b2J\x07\x7f\r\n\u2028\u202e\u200b\ud800 :bomb: [red]é日本[/red]"
ESCAPED = r"[/b]x\x1b[31m\x9b2J\x07\x7f\r\n\u2028\u202e\u200b\ud800 :bomb: [red]é日本[/red]"

texts = st.text(st.characters(codec=None), max_size=50)
stored_texts = st.text(max_size=50)  # without surrogates, which the database cannot store


@given(texts)
def test_escaped_text_is_printable_and_stays_as_it_is_if_it_was_printable(text: str) -> None:
    escaped = terminal.escape(text)
    assert escaped.isprintable()
    assert escaped == text or not text.isprintable()
    assert terminal.escape(escaped) == escaped


@given(st.recursive(stored_texts, lambda inner: st.dictionaries(stored_texts, inner, max_size=3)))
def test_printed_json_is_printable_and_has_the_same_value(
    capsys: pytest.CaptureFixture[str], value: object
) -> None:
    for is_indented in (False, True):
        terminal.print_json(value, is_indented=is_indented)
        printed = capsys.readouterr().out
        assert json.loads(printed) == value
        assert all(line.isprintable() for line in printed.split("\n"))


def test_a_console_prints_strings_in_lines_tables_and_titles_as_plain_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert terminal.escape(HOSTILE) == ESCAPED
    console = terminal.Console()
    table = Table(HOSTILE, title=HOSTILE, box=None)
    table.add_row(HOSTILE)
    console.print(HOSTILE)
    console.rule(HOSTILE)
    console.print(table)
    printed = capsys.readouterr().out
    assert printed.count(ESCAPED) == 5
    assert all(line.isprintable() for line in printed.split("\n"))


def test_only_all_is_100_percent_and_only_none_is_0_percent() -> None:
    rates = (0, 0.0004, 0.004, 0.5, 0.9975, 1)
    assert [terminal.whole_percent(rate) for rate in rates] == [0, 1, 1, 50, 99, 100]
