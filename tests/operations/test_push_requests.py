"""Requests to which the project function responds without running a command."""

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.body_client import clients
from tests.support.ingest_process import ROOT, FunctionProcess, run_function


@pytest.fixture
def project(tmp_path: Path) -> Iterator[FunctionProcess]:
    """The project function, which waits at most half a second for the body of a request."""
    text = (ROOT / "functions/project/main.py").read_text()
    assert "BodyDeadline()" in text
    source = tmp_path / "main.py"
    source.write_text(text.replace("BodyDeadline()", "BodyDeadline(timeout_s=0.5)"))
    with run_function("postgresql:///nowhere", source=source, target="project") as running:
        yield running


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
def test_project_responds_with_405_to_methods_other_than_get_and_post(
    project: FunctionProcess, method: str
) -> None:
    with closing(HTTPConnection("127.0.0.1", project.port, timeout=30)) as connection:
        connection.request(method, "/", b"" if method == "HEAD" else b"x")
        response = connection.getresponse()
        assert (response.status, response.getheader("Allow")) == (405, "GET, POST")


@pytest.mark.parametrize("length", [1_000, None], ids=["a length", "chunked"])
def test_a_request_whose_body_does_not_arrive_in_time_gets_400(
    project: FunctionProcess, length: int | None
) -> None:
    with clients(project, 2) as (slow, other):
        slow.begin(length)
        slow.send(b"x" if length else b"3e8\r\nx")
        assert slow.status() == 400
        assert other.post(b"not a command") == 204
