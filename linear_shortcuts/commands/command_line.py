"""The command line: `linear-shortcuts COMMAND` and `linear-shortcuts --version`."""

from __future__ import annotations

import argparse
import sys

from linear_shortcuts import __version__
from linear_shortcuts.commands.check_command import CHECK
from linear_shortcuts.commands.compare_command import COMPARE
from linear_shortcuts.commands.fit_command import FIT
from linear_shortcuts.commands.generate_command import GENERATE
from linear_shortcuts.commands.peek_command import PEEK
from linear_shortcuts.commands.shorten_command import SHORTEN
from linear_shortcuts.settings import program

COMMANDS = (CHECK, FIT, PEEK, COMPARE, GENERATE, SHORTEN)  # in the order of --help


def main() -> None:
    args = make_parser().parse_args()
    sys.argv[0] = "linear-shortcuts"  # what an error's line begins with; it would be __main__.py
    program.run(lambda: sys.exit(args.run(args)))


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; what it returns has the command's `run`."""
    parser = argparse.ArgumentParser(prog="linear-shortcuts", description="Linear shortcuts through transformers.")
    parser.add_argument("--version", action="version", version=f"linear-shortcuts {__version__}")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        own = parsers.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_options(own)
        own.set_defaults(run=command.run)
    return parser
