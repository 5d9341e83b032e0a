"""Limit the length of a request line; gunicorn rejects a longer line with 414.

The Functions Framework starts gunicorn without a limit. It reads neither gunicorn's configuration
file nor GUNICORN_CMD_ARGS, so only code can set the limit.
"""

import functools

_MAX_BYTES = 8_190  # the largest limit that gunicorn accepts


def limit_length() -> None:
    """Limit the request line in the server that the framework is about to start."""
    from functions_framework._http import gunicorn  # imported late, because only a server needs it

    gunicorn.GunicornApplication = functools.partial(  # type: ignore[assignment,misc] # it is only called
        gunicorn.GunicornApplication, limit_request_line=_MAX_BYTES
    )
