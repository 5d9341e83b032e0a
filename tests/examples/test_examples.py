"""The programs in examples/ work on a local stack, with the commands of their README."""

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from progress import settings
from progress.serve import ports
from tests.conftest import skip_without
from tests.support import (
    cli,
    folders,
    http_client,
    node,
    programs,
    recent_events,
    sample_events,
)
from tests.support.local_stack import Stack

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
PREPARE, RUN, TYPED = (
    block.replace("\\\n", "") for block in re.findall(r"(?ms)^```sh\n(.*?)^```", README)
)
WAIT_S = 60


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The variables that the README's first commands export, after they have started a stack."""
    with folders.create("examples") as folder:
        own = settings.child_env(PROGRESS_DATA_DIR=str(folder / "data"))
        up = f"up --detach --port {ports.reserve()}"
        shell = PREPARE.replace("up --detach", up) + "printf '\\0'; env -0"
        try:
            made = programs.run(["bash", "-euc", _with_server(shell)], own, folder=REPOSITORY)
            yield dict(line.partition("=")[::2] for line in made.split("\0") if "=" in line)
        finally:
            cli.progress("", "down", PROGRESS_DATA_DIR=own["PROGRESS_DATA_DIR"])


def _with_server(shell: str) -> str:
    return shell.replace(".venv/bin/progress", " ".join(cli.COMMAND))


def command(name: str, learner: str = "ann") -> list[str]:
    (line,) = (line for line in RUN.splitlines() if name in line)
    return ["bash", "-euc", _with_server(line).replace(" ann", f" {learner}")]


def run(environment: dict[str, str], name: str, learner: str = "ann") -> str:
    return programs.run(command(name, learner), environment, folder=REPOSITORY)


@contextlib.contextmanager
def follow(environment: dict[str, str], name: str) -> Iterator[Iterator[str]]:
    with subprocess.Popen(
        ["timeout", str(WAIT_S), *command(name)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as program:
        assert program.stdout
        try:
            yield iter(program.stdout.readline, "")
        finally:
            program.terminate()


def wait_for(text: str, program: Callable[[], str]) -> str:
    end = time.monotonic() + WAIT_S
    while text not in (printed := program()):
        assert time.monotonic() < end, printed
    return printed


@pytest.mark.exhaustive
def test_a_subscriber_hears_what_the_programs_publish(
    request: pytest.FixtureRequest, environment: dict[str, str]
) -> None:
    with follow(environment, "subscribe.py") as lines:
        assert next(lines) == "None\n"
        assert "'appended': 4" in run(environment, "post.py")
        assert "{'totalSessionsCompleted': 1, 'accuracyRate': 0.5}\n" in lines
        if not shutil.which("node"):
            skip_without(request, "node")
        assert "recorded 2 events of ann" in run(environment, "publish.mjs")
        assert any("'accuracyRate': 0.66" in line for line in lines)


@pytest.mark.exhaustive
def test_an_app_fetches_the_words_that_a_link_of_the_page_means(
    request: pytest.FixtureRequest, environment: dict[str, str]
) -> None:
    if not shutil.which("node"):
        skip_without(request, "node")
    card = {"item_id": "due & old", "rating": 3, "interval_days": 1}
    publish(environment, [recent_events.of("CardReviewed", "ann", 900, **card)])
    assert wait_for("due", lambda: run(environment, "practise.mjs")) == "due & old\n"


def publish(environment: dict[str, str], events: list[dict[str, Any]]) -> None:
    programs.run(
        [*cli.COMMAND, "publish", "-"], environment, folder=REPOSITORY,
        text="\n".join(map(json.dumps, events)),
    )  # fmt: skip


@pytest.mark.exhaustive
def test_the_views_and_the_archive_show_a_published_lesson(environment: dict[str, str]) -> None:
    run(environment, "post.py", "bob")
    run(environment, "progress batch")
    printed = run(environment, "views.sql")
    assert re.search(r"^ \d{4}-\d\d-\d\d \| +\d+ \| +0\.\d{3}$", printed, re.MULTILINE)
    assert "average_progress" in printed
    run(environment, "progress archive")
    run(environment, "archive.py")


@pytest.mark.exhaustive
def test_a_learner_sets_a_goal_and_corrects_an_answer_and_a_teacher_sees_both_until_the_erasure(
    environment: dict[str, str],
) -> None:
    ask = [*cli.COMMAND, "token", "--user", "fay"]
    token = programs.run(ask, environment, folder=REPOSITORY).strip()
    environment = {**environment, "TOKEN": token}
    run(environment, "post.py", "fay")
    printed = wait_for("now: 1 ", lambda: run(environment, "past.py"))
    assert "then: 0 sessions completed" in printed
    assert " counts\n" in run(environment, "goal.py")
    assert "published and retracted " in run(environment, "correct.py", "fay")
    assert Stack(Path(environment["PROGRESS_DATA_DIR"])).find_mistakes() == []
    publish(environment, [recent_events.of("LearnerJoinedGroup", "fay", 0, group_id="class-1")])
    # The retracted answer counts nowhere: one of two is right.
    wait_for("'accuracyLast7Days': 0.5", lambda: run(environment, "group.py"))
    with follow(environment, "websocket.py") as lines:
        assert next(lines) == "{'current': 1, 'activeToday': True}\n"
        assert run(environment, "erase.py", "fay") == "SUCCEEDED \n"
        assert "{'current': 0, 'activeToday': False}\n" in lines
    assert "'fay'" not in run(environment, "group.py")


READERS = '{ group(groupId: "readers") { tasks { edges { node { listId listName } } } } }'
TEXTS = {  # two known words, one unknown, and the text with its marks
    "en": ("mouse", "run", "sleep", "The? mice ran; a? mouse, 2 cats? [slept]."),
    "de": ("Haus", "alt", "schlafen", "Die? Häuser waren? alt, im? Haus [schlief] er?."),
    "ja": ("猫", "魚", "食べる", "猫は?魚を?[食べ]まし?た?。"),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("language", TEXTS)
def test_a_text_is_printed_with_what_a_learner_and_a_class_know_of_it(
    environment: dict[str, str], tmp_path: Path, language: str
) -> None:
    *words, marked = TEXTS[language]
    ask = [*cli.COMMAND, "token", "--user", "ada", "--role", "teacher", "--group", "readers"]
    token = programs.run(ask, environment, folder=REPOSITORY).strip()
    environment = {**environment, "TEACHER_TOKEN": token}
    told = [recent_events.of("LearnerJoinedGroup", "ann", 0, group_id="readers")]
    for number, word in enumerate(words):
        item = {"item_id": f"text-{language}-{number}"}
        described = {**item, "headword": word, "cefr_level": "A1", "language": language}
        told.append(sample_events.envelope("ItemPublished", described, at=recent_events.ago(0)))
        if number < 2:
            told.append(
                recent_events.of("CardReviewed", "ann", 0, **item, rating=4, interval_days=30)
            )
    publish(environment, told)
    text = tmp_path / f"{language}.txt"
    text.write_text(re.sub(r"[][?]", "", marked), encoding="utf-8")
    *bash, line = command("coverage.py")
    line = line.replace("README.md en", f"{text} {language}").replace("class-1", "readers")
    printed = ""
    for each in (line.replace(" --group readers", ""), line.replace("--group", "--task")):

        def count(each: str = each) -> str:
            return programs.run([*bash, each], environment, folder=REPOSITORY)

        share = "67% of 3 words" if language == "ja" else "75% of 4 words"
        printed = wait_for(share, count)
        rows = re.findall(r"^ *(\d+%) +[\d.]+% +(\d) (.+)$", printed, re.MULTILINE)
        assert rows == [("100%", "1", words[2])]
        assert printed.splitlines()[5] == marked
    port, headers = urlsplit(environment["QUERY_URL"]).port or 0, http_client.headers(token)
    ask_tasks = functools.partial(http_client.ask, port, headers, READERS)
    found = json.loads(wait_for(f'"{language}"', lambda: json.dumps(ask_tasks())))
    tasks = [edge["node"] for edge in found["group"]["tasks"]["edges"]]
    (task,) = (each["listId"] for each in tasks if each["listName"] == language)
    assert printed.splitlines()[6:] == [f"task {task}"]


MEMBER = """query ($id: ID!, $from: Date!, $to: Date!, $weekAgo: DateTime!) {
  learner(userId: $id) { id userProgress { displayName } streak { current }
    weeklyStats(from: $from, to: $to, zeroFill: true) { answers }
    tasks { edges { node { known items } } } }
  then: learner(userId: $id, asOf: $weekAgo) { streak { current } }
  group(groupId: "class-1") { hardestItems { headword accuracyRate } } }"""


@pytest.mark.exhaustive
def test_a_report_has_the_numbers_of_each_member(environment: dict[str, str]) -> None:
    draw = [*cli.COMMAND, "demo", "--class", "--learners", "9"]
    programs.run(draw, environment, folder=REPOSITORY)
    publish(environment, [recent_events.of("LearnerJoinedGroup", "a&b", 0, group_id="class-1")])
    run(environment, "progress batch")
    headers = http_client.headers(environment["TEACHER_TOKEN"])
    port, (*bash, text) = urlsplit(environment["QUERY_URL"]).port or 0, command("report.py")

    def print_and_ask() -> tuple[list[str], list[dict[str, Any]]]:
        texts = ([*bash, text.replace(" en", f" {language}")] for language in ("en", "ja"))
        mails = [programs.run(each, environment, folder=REPOSITORY) for each in texts]
        now = datetime.now(UTC)
        first, last = (now - timedelta(now.weekday() + days) for days in (14, 1))
        week_ago = f"{now - timedelta(7):%FT%TZ}"
        when = {"from": f"{first:%F}", "to": f"{last:%F}", "weekAgo": week_ago}
        ids = [f"learner-{n:03}" for n in range(1, 10)]
        return mails, [http_client.ask(port, headers, MEMBER, id=each, **when) for each in ids]

    (mail, japanese), answers = recent_events.ask_within(3_600, print_and_ask)
    assert re.findall(r"\d+", mail) == re.findall(r"\d+", japanese)
    assert "- a&amp;b: 0 (0) answers" in mail
    for found in answers:
        member, then = found["learner"], found["then"]["streak"]["current"]
        name = member["userProgress"]["displayName"] or member["id"]
        before, last = (week["answers"] for week in member["weeklyStats"])
        assert f"\n- {name}: {last} ({before}) answers" in mail
        assert (then > member["streak"]["current"]) == (f"\n- {name}: {then}\n" in mail)
        ((known, items),) = (edge["node"].values() for edge in member["tasks"]["edges"])
        assert (known < items) == (f"\n- {name}: {known}/{items}\n" in mail)
        for item in found["group"]["hardestItems"]:
            assert f"\n- {item['headword']}: {item['accuracyRate']:.0%}\n" in mail


@pytest.mark.exhaustive
def test_the_readme_s_lines_send_an_answer(environment: dict[str, str]) -> None:
    section = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("\nBy hand, ")[1]
    lines = re.findall(r"^    (.*\n)", section.partition("\n## ")[0], re.MULTILINE)
    page = environment["QUERY_URL"].removesuffix("/graphql")
    text = _with_server("".join(lines)).replace("http://127.0.0.1:8080", page)
    sent = ["bash", "-euc", text]
    assert '"appended":1' in programs.run(sent, environment, folder=REPOSITORY)


@pytest.mark.exhaustive
def test_the_typed_client_is_generated_from_the_served_schema_and_runs(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path
) -> None:
    packages = node.workshop(request, tmp_path) / "node_modules"
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(packages)
    path = f"{packages / '.bin'}{os.pathsep}{environment['PATH']}"
    lines = TYPED.splitlines()
    assert lines[:2] == ["cd examples", "npm install"]  # the tests have the packages already
    variables = {**environment, "PATH": path}
    *prepare, ask = (line.removeprefix("npx ").split() for line in lines[2:])
    for words in prepare:
        programs.run(words, variables, folder=folder)
    run(environment, "post.py")
    wait_for("i-2: 0 % correct", lambda: programs.run(ask, variables, folder=folder))


def test_the_typed_client_has_the_packages_of_the_tests() -> None:
    examples, tests = (
        json.loads((folder / "package.json").read_text())["devDependencies"]
        for folder in (EXAMPLES, node.CLIENTS)
    )
    assert examples.items() <= tests.items()
