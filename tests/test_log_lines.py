"""Lines of the log: JSON, whatever is told."""

import json

import pytest

from progress import logs


def test_half_a_character_in_a_log_line_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.write("ERROR", "what is \ud800?")
    assert json.loads(capsys.readouterr().out)["message"] == "what is \ud800?"
