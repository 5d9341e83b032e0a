"""The command `progress`, also as `python -m progress`."""

import sys


def main() -> None:
    """Import the commands and run one; Ctrl-C during the imports ends without a traceback."""
    try:
        from progress import cli
    except KeyboardInterrupt:
        sys.exit(130)  # by convention, 128 + SIGINT
    cli.main()


if __name__ == "__main__":
    main()
