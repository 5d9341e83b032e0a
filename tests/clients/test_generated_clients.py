"""Clients that generators make of the OpenAPI document have names, compile, and post."""

import json
import re
import sys
from pathlib import Path

import pytest

from progress.event_store import events
from progress.event_store.contract import files
from tests.clients.test_from_an_app import posted_bodies
from tests.conftest import Store
from tests.ingest.test_openapi import BODY, DOCUMENT, EVENTS
from tests.query.test_learner_posts import serve
from tests.support import local_stack, node, programs
from tests.support.fake_publisher import FakePublisher
from tests.support.learner_client import VECTORS
from tests.support.local_stack import Stack

PYTHON = "openapi-python-client==0.29.1"
TSC = [
    *("tsc", "--strict", "--skipLibCheck", "--target", "es2022"),
    *("--lib", "es2022,dom,dom.iterable"),
]
_TYPES = """import type { paths } from "./api.js";
type Body = paths["/events"]["post"]["requestBody"]["content"]["application/json"];
"""
_HEY_API = """import { postEvents, type Event } from "./hey";
const { URL: baseUrl, TOKEN: auth } = process.env;
const body: Event[] = %s;
const sent = postEvents({ baseUrl: baseUrl!, auth: auth!, body });
sent.then(({ data }) => console.log(JSON.stringify(data)));
"""
_PYTHON = """import json, sys
from posts_to_progress_client import AuthenticatedClient, models
from posts_to_progress_client.api.default import post_events

url, token = sys.argv[1:]
body = [getattr(models, each["event_type"]).from_dict(each) for each in json.load(sys.stdin)]
answer = post_events.sync(client=AuthenticatedClient(url, token), body=body)
assert isinstance(answer, models.Taken)
print(json.dumps(answer.to_dict()))
"""

stack = pytest.fixture(local_stack.started, scope="module", name="stack")


def test_the_bodies_of_the_documents_and_of_the_vectors_are_valid_and_taken(
    store: Store, fake_publisher: FakePublisher, client_app: Path
) -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
    requests = [request for vector in vectors for request in vector["requests"]]
    posted = posted_bodies(client_app)
    posted += [each["events"] for each in requests if "events" in each]
    entries = [entry for body in posted for entry in body]
    with serve(store, fake_publisher) as world:
        refused = world.post(*entries)
    refused = [(index, why) for index, why in refused if "ahead of the clock" not in why]
    invalid = [entries[index]["event_type"] for index, _ in refused]
    assert invalid == ["CardReveiwed"]  # docs/from-an-app.md shows that it is refused
    assert [body for body in posted if not BODY.is_valid(body)] == [posted[1]]
    assert BODY.is_valid(posted[1][:1])
    types = {entry["event_type"] for entry in entries}
    assert types - {*invalid} <= events.LEARNERS_POST
    assert len(types) > 12


@pytest.fixture
def workshop(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = node.workshop(request, tmp_path)
    (folder / "openapi.json").write_text(files.encode(DOCUMENT), encoding="utf-8")
    return folder


@pytest.mark.exhaustive
def test_the_bodies_of_the_documents_compile_with_openapi_typescript(
    workshop: Path, client_app: Path
) -> None:
    node.run(workshop, "openapi-typescript", "openapi.json", "--output", "api.d.ts")
    by_line, by_hand, *posted = posted_bodies(client_app)
    text = _TYPES
    for number, body in enumerate([by_line, by_hand[:1], *posted, EVENTS, *EVENTS]):
        text += f"export const body{number}: Body = {json.dumps(body)};\n"
    missing = {**EVENTS[0], "data": {}}
    for number, body in enumerate([by_hand, missing, {**EVENTS[0], "event_id": None}]):
        text += f"// @ts-expect-error\nexport const wrong{number}: Body = {json.dumps(body)};\n"
    (workshop / "bodies.ts").write_text(text, encoding="utf-8")
    node.run(workshop, *TSC, "--noEmit", "--module", "nodenext", "bodies.ts")


@pytest.mark.exhaustive
def test_hey_api_generates_a_client_that_posts(workshop: Path, stack: Stack) -> None:
    node.run(workshop, "openapi-ts", "--input", "openapi.json", "--output", "hey")
    types = (workshop / "hey" / "types.gen.ts").read_text(encoding="utf-8")
    assert re.findall(r"export type (\w*\d\w*)", types) == []
    (workshop / "post.ts").write_text(_HEY_API % json.dumps(EVENTS), encoding="utf-8")
    (workshop / "package.json").write_text('{"type": "commonjs"}', encoding="utf-8")
    options = ["--module", "commonjs", "--moduleResolution", "node10", "--types", "node"]
    node.run(workshop, *TSC, *options, "post.ts")
    address = {"URL": f"http://127.0.0.1:{stack.port}", "TOKEN": stack.token("hey")}
    told = json.loads(node.run(workshop, "node", "post.js", **address))
    assert told == {"accepted": len(EVENTS), "refused": []}


@pytest.mark.exhaustive
def test_openapi_python_client_generates_a_client_that_posts(tmp_path: Path, stack: Stack) -> None:
    document, venv = tmp_path / "openapi.json", tmp_path / "venv"
    document.write_text(files.encode(DOCUMENT), encoding="utf-8")
    python = venv / "bin" / "python"
    programs.run([sys.executable, "-m", "venv", venv])
    programs.run([python, "-m", "pip", "install", "--quiet", PYTHON])
    generate = [venv / "bin" / "openapi-python-client", "generate", "--path", document]
    path = {"PATH": f"{venv / 'bin'}"}
    programs.run([*generate, "--output-path", tmp_path / "made"], path)
    models = tmp_path / "made" / "posts_to_progress_client" / "models" / "__init__.py"
    assert re.findall(r"import (\w*\d\w*)", models.read_text(encoding="utf-8")) == []
    (tmp_path / "made" / "post.py").write_text(_PYTHON, encoding="utf-8")
    programs.run([python, "-m", "compileall", "-q", tmp_path / "made"])
    command = [python, tmp_path / "made" / "post.py", f"http://127.0.0.1:{stack.port}"]
    told = programs.run([*command, stack.token("py")], text=json.dumps(EVENTS))
    assert json.loads(told) == {"accepted": len(EVENTS), "refused": []}
