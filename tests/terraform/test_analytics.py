"""The published messages in BigQuery have no learners."""

import json
import os
import shutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress.event_store.events import ASSIGNMENTS, OF_LISTS
from tests.conftest import skip_without
from tests.support import envelopes, programs
from tests.support.envelopes import reshape
from tests.support.terraform import REPOSITORY

_FILE = REPOSITORY / "infra" / "terraform" / "analytics" / "remove_learner.js"
_LEARNER = "u-1"
_EVENT = {"event_id": "e-1", "event_type": "SessionStarted"}

# Pub/Sub's contract: `message` has `data` (a string) and `attributes`. If the function returns
# null, Pub/Sub drops the message.
_CALL = """
const [file, text] = process.argv.slice(1);
const source = require("fs").readFileSync(file, "utf8");
const transform = new Function(`${source}; return removeLearner;`)();
const answers = JSON.parse(text).map(([message, metadata]) => transform(message, metadata));
process.stdout.write(JSON.stringify(answers));
"""

Message = tuple[str, dict[str, str], dict[str, str]]


@pytest.fixture(scope="module", autouse=True)
def node(request: pytest.FixtureRequest) -> None:
    if not shutil.which("node"):
        skip_without(request, "node")


def transformed(*messages: Message) -> list[dict[str, Any] | None]:
    """Transform messages, given as data, attributes and metadata; a dropped message yields None."""
    calls = [
        [{"data": data, "attributes": attributes}, metadata]
        for data, attributes, metadata in messages
    ]
    command = ["node", "-e", _CALL, str(_FILE), json.dumps(calls)]
    answers: list[dict[str, Any] | None] = json.loads(programs.run(command, os.environ))
    return answers


def written(body: object, **attributes: str) -> tuple[object, dict[str, str]]:
    (answer,) = transformed((json.dumps(body), attributes, {}))
    assert answer
    assert answer.keys() == {"data", "attributes"}
    return json.loads(answer["data"]), answer["attributes"]


def test_only_the_learner_is_removed_from_an_event() -> None:
    kept = {
        "session_id": "s-1",
        "item_count": 3,
        "score": 2.5,
        "none": None,
        "text": "ü \U0001f600",
    }
    event = {
        **_EVENT,
        "data": {**kept, "user_id": _LEARNER},
        "metadata": {"user_id": _LEARNER, "correlation_id": "c-1"},
    }
    body, attributes = written(event, user_id=_LEARNER, event_type="SessionStarted")
    assert body == {**_EVENT, "data": kept, "metadata": {"correlation_id": "c-1"}}
    assert attributes == {"event_type": "SessionStarted"}


def test_the_learner_is_removed_from_every_form_of_an_event() -> None:
    event = envelopes.session_started(user=_LEARNER, metadata={"user_id": _LEARNER})
    forms = [reshape(event, form) | {"subject": "x"} for form in ("recorded", "flat", "cloud")]
    body, _ = written(forms, user_id=_LEARNER)
    assert isinstance(body, list)
    assert _LEARNER not in json.dumps(body)
    assert ["subject" in each for each in body] == [True, True, False]
    for each in body:
        assert (each.get("data") or each.get("event_data") or each)["session_id"] == "s"


def test_a_message_whose_learner_cannot_be_removed_is_dropped() -> None:
    event = json.dumps({"data": {"user_id": _LEARNER}})
    ordered = {"ordering_key": _LEARNER}
    *dropped, kept = transformed(
        ('{"specversion": "1.0", "userid": "u-1"}', {}, ordered),
        ('{"data": {"user_id": "u-1"', {}, {}),
        ("", {}, {}),
        (event, {}, ordered),
        ("{}", {"user_id": _LEARNER}, ordered),
        (event, {}, {"ordering_key": "s-1"}),
    )
    assert dropped == [None] * 5
    assert kept


def test_no_event_about_a_list_is_written_in_whichever_form() -> None:
    other = envelopes.session_started(user=_LEARNER)
    alone, among_others = list[Message](), list[Message]()
    for kind in (*OF_LISTS, *ASSIGNMENTS):
        event = {**other, "event_type": kind, "data": {"list_id": "l", "headword": "secret"}}
        forms = [reshape(event, form) for form in ("recorded", "flat", "cloud")]
        tagged = {"event_id": "e", "data": {"type": kind}}
        for one in (event, *forms, tagged, {"event_id": "e", "data": {"length": 0}, "length": 0}):
            attributes = {"event_type": kind}
            alone += [(json.dumps(body), attributes, {}) for body in (one, [one, one])]
            among_others.append((json.dumps([one, other, one]), attributes, {}))
    assert transformed(*alone) == [None] * len(alone)
    for answer in transformed(*among_others):
        assert answer
        assert [each["event_type"] for each in json.loads(answer["data"])] == ["SessionStarted"]
    kept = {**_EVENT, "type": "ItemListed", "data": {"type": "ItemListed"}}
    assert written(kept, event_type="ItemListed")[0] == kept
    assert written([], event_type="ItemListed")[0] == []


_NAMES = st.sampled_from(["user_id", "data", "userid", "n", "__proto__", "toJSON", "0"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.just(_LEARNER + "-secret"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(bodies=st.lists(_VALUES, min_size=20, max_size=20))
def test_no_user_id_is_left_at_any_depth(bodies: list[object]) -> None:
    answers = transformed(*[(json.dumps(body), {"user_id": "u-2"}, {}) for body in bodies])
    for body, answer in zip(bodies, answers, strict=True):
        assert answer
        assert json.loads(answer["data"]) == _without(body)
        assert answer["attributes"] == {}


def _without(value: object) -> object:
    if isinstance(value, dict):
        learner = ("user_id", "userid")
        return {name: _without(inner) for name, inner in value.items() if name not in learner}
    return [_without(inner) for inner in value] if isinstance(value, list) else value
