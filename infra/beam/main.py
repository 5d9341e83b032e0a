"""Run the Beam pipeline. The Flex Template and Beam's local runner start this program."""

import sys

from progress.recovery import beam_pipeline

beam_pipeline.main(sys.argv[1:])
