"""`python -m progress.cli`."""

from progress.cli import main

main()
