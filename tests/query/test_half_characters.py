"""Requests with lone surrogates, which UTF-8 cannot encode."""

import base64
import json

from tests.support import api


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_lone_surrogate_in_a_token_is_rejected() -> None:
    crit = {"alg": "RS256", "kid": "first", "crit": ["\ud800"]}
    token = f"{part(crit)}.{part({})}.AAAA"
    with api.serve(api.NOWHERE) as query_api:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        assert query_api.request("POST", "/graphql", b"{}", headers).status_code == 401
