"""The guide's way to set a task, run as it stands against the local stack."""

import json
import os
import re
from pathlib import Path

from progress import files
from tests.support import cli, programs
from tests.support.local_stack import Stack

GUIDE = (files.ROOT / "docs/guide.md").read_text(encoding="utf-8")


def test_a_list_is_published_and_assigned_and_a_teacher_reads_the_task(
    stack: Stack, tmp_path: Path
) -> None:
    section = GUIDE.split("### Set a task\n")[1].split("\n## ")[0]
    set_task, look = re.findall(r"(?m)(?:^    .*\n)+", section)

    def shell(text: str) -> str:
        text = re.sub(r"^    ", "", text, flags=re.MULTILINE)
        text = text.replace(".venv/bin/progress", " ".join(cli.COMMAND))
        text = text.replace("8080", str(stack.port)).replace("curl ", "curl --silent ")
        variables = {**os.environ, "PROGRESS_DATA_DIR": str(stack.folder.path)}
        return programs.run(["bash", "-euc", text], variables, folder=tmp_path)

    joined = {"event_type": "LearnerJoinedGroup", "data": {"user_id": "tia", "group_id": "g1"}}
    (tmp_path / "join.json").write_text(
        json.dumps({**joined, "occurred_at": "2026-03-01T08:00:00Z"})
    )
    shell(".venv/bin/progress publish join.json")
    assert "1 published\n1 appended\n" in shell(set_task)
    stack.await_projection()
    answer = json.loads(shell(look))
    assert "data" in answer, answer
    (edge,) = answer["data"]["group"]["tasks"]["edges"]
    assert edge["node"] == {"listName": "Unit 7", "dueOn": "2026-03-06", "items": 2, "done": 0}
