"""Run the Beam pipeline; `progress rebuild --from-archive --engine beam` starts this program."""

import sys

from progress.recovery import beam_pipeline

beam_pipeline.main(sys.argv[1:])
