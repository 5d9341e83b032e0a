"""The command `progress`, also as `python -m progress`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C during the imports ends the process without a traceback."""
    try:
        from progress import cli
    except KeyboardInterrupt:
        sys.exit(130)  # by convention, 128 + SIGINT
    cli.main()


if __name__ == "__main__":
    main()
