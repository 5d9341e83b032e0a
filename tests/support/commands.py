"""The imports of all commands, for a process that forks: a command spends most of its time on them.

The first parsed command imports more: pydantic and rich.
"""

import contextlib
import io

from progress import cli

with contextlib.redirect_stdout(io.StringIO()):
    cli.build_app()(["env", "--help"], standalone_mode=False)
