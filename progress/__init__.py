"""Progress: the event log of a vocabulary app, and the learners' statistics computed from it."""

import warnings

__version__ = "0.4.0"

# Dated: from July 2027 on, each import warns about Python 3.11, in the output of commands, too.
warnings.filterwarnings(
    "ignore", category=FutureWarning, module=r"google\.api_core\._python_version_support"
)
