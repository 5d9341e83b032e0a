"""The bound on a request line where gunicorn reads it: 414 beyond it.

The framework tells gunicorn to take a line of any length, and gunicorn's environment and
configuration file are not asked.
"""

import functools

_MOST = 8_190  # bytes; gunicorn knows no larger bound


def bound() -> None:
    """Have the server that the framework is about to start take no longer line."""
    from functions_framework._http import gunicorn  # only where a server is started

    gunicorn.GunicornApplication = functools.partial(  # type: ignore[assignment,misc] # made by calls
        gunicorn.GunicornApplication, limit_request_line=_MOST
    )
