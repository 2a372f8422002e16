"""`python -m shortcuts --version`."""

import argparse

from shortcuts import __version__


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shortcuts", description="Linear shortcuts through transformers.")
    parser.add_argument("--version", action="version", version=f"linear-shortcuts {__version__}")
    parser.parse_args()
    parser.print_help()


if __name__ == "__main__":
    main()
