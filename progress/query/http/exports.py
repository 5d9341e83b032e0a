"""Serve exported files that are on this machine, under signed paths that expire."""

from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from progress.operations.export_files import MEDIA_TYPES
from progress.query.graphql.downloads import PATH, Downloads
from progress.query.http import protocol

_HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


def answer(request: Request, downloads: Downloads) -> Response | None:
    """Return the exported file, or 404 if its link is invalid or has expired.

    Return None if the path does not begin with `PATH`, or if the method is not GET or HEAD.
    """
    if not request.url.path.startswith(PATH) or request.method not in ("GET", "HEAD"):
        return None
    file = downloads.open(request.url.path, datetime.now(UTC))
    target = Path(downloads.location) / file.object if file else None
    if file is None or target is None or not target.is_file():
        return protocol.json({"error": "this link has expired: request another"}, 404)
    media_type = MEDIA_TYPES[target.suffix.lstrip(".")]
    return FileResponse(target, filename=file.file, media_type=media_type, headers=_HEADERS)
