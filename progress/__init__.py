"""Progress: the event log of a vocabulary app, and the learners' statistics computed from it."""

import warnings
import zoneinfo

__version__ = "0.4.0"

# Days are cut by the pinned tzdata package, as the database cuts them, not by the machine's data.
zoneinfo.reset_tzpath(to=())

# Dated: from July 2027 on, each import warns about Python 3.11, in the output of commands, too.
warnings.filterwarnings(
    "ignore", category=FutureWarning, module=r"google\.api_core\._python_version_support"
)
