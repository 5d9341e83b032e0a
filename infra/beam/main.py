"""The program that the Flex Template and Beam's local runner start; it runs the pipeline."""

import sys

from progress.recovery import beam_pipeline

beam_pipeline.main(sys.argv[1:])
