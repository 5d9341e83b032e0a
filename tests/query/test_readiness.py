"""The readiness probe checks the database and the read models, and pings Redis."""

from progress.local import readiness
from tests.conftest import Store
from tests.support import api, rows_by_hand
from tests.support.api import Api

DEAD = "redis://:secret@127.0.0.1:1"


def ready(query_api: Api) -> tuple[int, api.Body]:
    response = query_api.request("GET", "/ready")
    assert b"secret" not in response.body
    return response.status_code, api.read(response)


def test_an_instance_with_a_database_is_ready(query_api: Api, store: Store, valkey: str) -> None:
    assert ready(query_api) == (200, {"status": "ok", "database": "ok", "cache": "off"})
    with api.serve(store.url, redis_url=valkey) as cached:
        expected = {"status": "ok", "database": "ok", "cache": "ok"}
        readiness.wait(lambda: ready(cached) == (200, expected), "the cache")


def test_an_instance_stays_ready_if_redis_is_unreachable(store: Store) -> None:
    with api.serve(store.url, redis_url=DEAD) as uncached:
        assert ready(uncached) == (200, {"status": "ok", "database": "ok", "cache": "away"})
        assert uncached.data("{ streak { current } }") == {"streak": {"current": 0}}


def test_an_instance_without_a_database_is_not_ready() -> None:
    with api.serve(api.NOWHERE) as offline_api:
        assert ready(offline_api) == (
            503,
            {"status": "unavailable", "database": "away", "cache": "off"},
        )


def test_an_instance_without_read_models_is_not_ready(query_api: Api, store: Store) -> None:
    connection = rows_by_hand.connect(store.url)
    connection.run(rows_by_hand.blocks()["drop"])
    connection.close()
    status, body = ready(query_api)
    assert (status, body["status"]) == (503, "unavailable")
