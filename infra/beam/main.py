"""Run the pipeline: the program of the Flex Template and of Beam's local runner."""

import sys

from progress.recovery import beam_pipeline

beam_pipeline.main(sys.argv[1:])
