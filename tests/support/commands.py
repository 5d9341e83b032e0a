"""The imports of all commands and of the query function, for a process that forks.

They take most of the time of a command, and of the start of a function.

The first parsed command imports more: pydantic and rich.
"""

import contextlib
import io

import functions_framework._http.gunicorn
import functions_framework.aio  # noqa: F401 - see above

from progress import cli
from progress.query.http import app, server  # noqa: F401 - see above

with contextlib.redirect_stdout(io.StringIO()):
    cli.build_app()(["env", "--help"], standalone_mode=False)
