"""The guide's way to set a task, run as it stands against the local stack."""

import json
import re
from pathlib import Path
from textwrap import dedent

from progress import files
from tests.support.local_stack import Stack

GUIDE = (files.ROOT / "docs/guide.md").read_text(encoding="utf-8")


def test_a_list_is_published_and_assigned_and_a_teacher_reads_the_task(
    stack: Stack, tmp_path: Path
) -> None:
    section = GUIDE.split("### Set a task\n")[1].split("\n## ")[0]
    set_task, look = re.findall(r"(?m)(?:^    .*\n)+", section)

    joined = {"event_type": "LearnerJoinedGroup", "data": {"user_id": "tia", "group_id": "g1"}}
    (tmp_path / "join.json").write_text(
        json.dumps({**joined, "occurred_at": "2026-03-01T08:00:00Z"})
    )
    stack.shell(".venv/bin/progress publish join.json", tmp_path)
    assert "1 published\n1 appended\n" in stack.shell(dedent(set_task), tmp_path)
    stack.await_projection()
    answer = json.loads(stack.shell(dedent(look), tmp_path))
    assert "data" in answer, answer
    (edge,) = answer["data"]["group"]["tasks"]["edges"]
    assert edge["node"] == {"listName": "Unit 7", "dueOn": "2026-03-06", "items": 2, "done": 0}
