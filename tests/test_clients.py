"""Clients that nobody here wrote, unchanged, against the running query function."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import issuing
import node
import pytest
from conftest import Store
from test_api_process import started

from progress.local import ports, readiness


@pytest.fixture
def url(store: Store, tmp_path: Path) -> Iterator[str]:
    """The address of a running query function."""
    port = ports.free()
    with issuing.serving() as issuer:
        told = {
            "AUTH_ISSUER": issuing.NAME,
            "AUTH_AUDIENCE": issuing.AUDIENCE,
            "AUTH_JWKS_URL": issuer.url,
            "DATABASE_URL": store.url,
            "ENVIRONMENT": "development",
        }
        with started(tmp_path, port, **told):
            readiness.wait(lambda: ports.is_listening(port), "the query function")
            yield f"http://{ports.HOST}:{port}/graphql"


def test_the_public_audits_pass(request: pytest.FixtureRequest, url: str) -> None:
    audits = json.loads(node.run(request, "node", "audits.mjs", URL=url, TOKEN=issuing.token()))
    assert [each for each in audits if each["status"] != "ok"] == []
    levels = Counter(each["name"].split()[0] for each in audits)
    assert levels == {"MUST": 13, "SHOULD": 23, "MAY": 25}
