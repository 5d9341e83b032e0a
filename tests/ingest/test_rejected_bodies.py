"""Requests that ingest rejects: bodies over 64 MiB, methods except GET and POST, bad chunks."""

from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.conftest import Store
from tests.ingest.test_admission import MIB, ingest, reserved, small
from tests.ingest.test_ingest import letters
from tests.support.body_client import clients
from tests.support.ingest_process import FunctionProcess

__all__ = ["ingest", "small"]


@pytest.mark.parametrize("length", [65 * MIB, None], ids=["a length", "chunked"])
def test_a_body_over_64_mib_gets_413_and_is_discarded(
    small: FunctionProcess, length: int | None
) -> None:
    before = small.peak_memory()
    with clients(small, 1) as (one,):
        one.begin(length)
        for _ in range(65):
            if length is None:
                one.chunk(b"x" * MIB)
            else:
                one.send(b"x" * MIB)
        one.send(b"0\r\n\r\n" if length is None else b"")
        assert one.status() == 413
        assert one.post(b"x") == 204  # the connection stays usable
    if length is not None:
        assert small.peak_memory() - before < 10 * MIB


def test_a_body_over_64_mib_does_not_reserve_memory_while_it_arrives(
    small: FunctionProcess,
) -> None:
    with clients(small, 2) as (large, other):
        large.begin(65 * MIB)
        large.send(b"x" * MIB)
        assert reserved(small) == 0
        assert other.post(b"x" * 1_000) == 204


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
def test_methods_other_than_get_and_post_get_405(
    ingest: FunctionProcess, store: Store, method: str
) -> None:
    with closing(HTTPConnection("127.0.0.1", ingest.port, timeout=30)) as connection:
        connection.request(method, "/", b"" if method == "HEAD" else b"x")
        response = connection.getresponse()
        assert (response.status, response.getheader("Allow")) == (405, "GET, POST")
    assert letters(store) == []


@pytest.mark.parametrize("chunk", [b"zz\r\nx\r\n", b"1\r\nxyz"], ids=["size", "terminator"])
def test_a_malformed_chunk_gets_400(ingest: FunctionProcess, store: Store, chunk: bytes) -> None:
    with clients(ingest, 1) as (one,):
        one.begin(None)
        one.send(chunk, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert one.status() == 400
        assert one.is_closed()
    assert letters(store) == []
