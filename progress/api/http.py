"""The query API over HTTP: its routes, and the way of a GraphQL request through it."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from progress import auth, reading
from progress.api import execution, requests, responses
from progress.api.context import Context
from progress.api.faults import Unforeseen
from progress.api.origins import Origins
from progress.api.page import Page, graphiql
from progress.api.persisted import Documents
from progress.api.requests import Headers
from progress.errors import Refused, Unavailable
from progress.settings import Settings

_READING = ("GET", "HEAD")
_TAKEN = ("POST", *_READING)
_ALLOW = b"GET, HEAD, OPTIONS, POST"


class QueryApi:
    """What `functions/query` answers."""

    def __init__(self, settings: Settings) -> None:
        """SettingsError where tokens could not be trusted, or an origin is none."""
        self._tokens = auth.Tokens(auth.issuer(settings))
        self._origins = Origins(settings.cors_origins)
        self._persisted = Documents()
        self._page = Page(settings.auth_sign_in_url)
        asked_for = settings.graphql_introspection
        self._open = settings.environment == "development" if asked_for is None else asked_for

    async def answer(self, request: Request) -> Response:
        """The response to any request."""
        match request.scope["path"]:
            case "/graphql":
                return await self._shared(request)
            case "/health" | "/ready" if request.scope["method"] not in _READING:
                return _only_read(request)
            case "/health":
                return responses.json({"status": "ok"})
            case "/ready":
                return await _ready()
        nothing = {"error": "there is nothing here: ask /graphql"}
        return self._page.answer(request) or responses.json(nothing, 404)

    async def _shared(self, request: Request) -> Response:
        """A response that pages of other origins may read too."""
        given = requests.headers(request)
        if request.scope["method"] == "OPTIONS":
            return self._origins.preflight(given, _ALLOW)
        response = await self._masked(request, given)
        self._origins.tell(given, response)
        return response

    async def _masked(self, request: Request, given: Headers) -> Response:
        """A response, whatever happens: what nobody foresaw is logged, and told by its trace."""
        trace = requests.trace(given)
        with Unforeseen(trace) as unforeseen:
            return await self._graphql(request, given, trace)
        return responses.faulty(500, unforeseen.told, given)

    async def _graphql(self, request: Request, given: Headers, trace: str) -> Response:
        if self._open and request.method == "GET" and _is_browser(request):
            return graphiql()
        try:
            return _not_taken(request, given) or await self._executed(request, given, trace)
        except (Refused, Unavailable) as fault:
            return responses.refused(fault, given)

    async def _executed(self, request: Request, given: Headers, trace: str) -> Response:
        caller = await self._tokens.caller(given.get(b"authorization", b"").decode("latin-1"))
        asked, sha256 = await requests.read(request, given)
        if sha256 is not None and not asked.query:
            asked = await self._persisted.found(asked, sha256)
        posted = request.scope["method"] == "POST"
        if not posted and not execution.is_query(asked, introspection=self._open):
            why = "expected POST: it is no query"
            return responses.error(405, why, given, lines=((b"allow", b"POST"),))
        answer = await execution.answered(
            asked,
            Context(caller, datetime.now(UTC)),
            introspection=self._open,
            trace=trace,
        )
        if sha256 is not None and answer.executed:
            await self._persisted.keep(sha256, asked.query)
        media = responses.media_type(given.get(b"accept", b""))
        if posted:
            return responses.answered(answer, media)
        return responses.got(answer, media, given.get(b"if-none-match", b""))


async def _ready() -> Response:
    try:
        found = await reading.rows("models/checkpoints", "ready")
    except Unavailable as fault:
        return responses.json({"status": "unavailable", "database": str(fault)}, 503)
    ready: bool = found[0]["ready"]
    return responses.json({"status": "ok" if ready else "unavailable"}, 200 if ready else 503)


def _only_read(request: Request) -> Response:
    allow = ((b"allow", b"GET, HEAD, OPTIONS"),)
    if request.scope["method"] == "OPTIONS":
        return responses.Reply(b"", 204, allow)
    return responses.json({"error": "expected GET"}, 405, allow)


def _not_taken(request: Request, given: Headers) -> Response | None:
    """The refusal of a request by its method and its media types alone."""
    method = request.scope["method"]
    if method not in _TAKEN:
        allow = ((b"allow", _ALLOW),)
        return responses.error(405, "expected GET or POST", given, lines=allow)
    if method == "POST" and not requests.is_json(given.get(b"content-type", b"")):
        return responses.error(415, f"expected Content-Type: {responses.JSON}", given)
    if not responses.media_type(given.get(b"accept", b"")):
        expected = f"expected Accept: {responses.GRAPHQL} or {responses.JSON}"
        return responses.error(406, expected, given)
    return None


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.query_params
