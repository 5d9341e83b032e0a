"""Half a character, which no UTF-8 can be made of, in what a stranger sends."""

import base64
import json

from tests.support import api


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_half_a_character_in_a_refusal_can_be_written() -> None:
    crit = {"alg": "RS256", "kid": "first", "crit": ["\ud800"]}
    token = f"{part(crit)}.{part({})}.AAAA"
    with api.serve("postgresql://nobody@/nowhere?host=/nowhere") as query_api:
        given = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        assert query_api.request("POST", "/graphql", b"{}", given).status_code == 401
