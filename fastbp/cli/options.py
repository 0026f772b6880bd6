"""An argument parser that suggests the option, command or name that was meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from fastbp.util.arguments import did_you_mean, suggestions
from fastbp.util.console import say


class Parser(argparse.ArgumentParser):
    """As argparse's; its errors say what was meant. Without arguments, the program lists its commands."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        given = list(sys.argv[1:] if args is None else args)
        if not given:
            say(self.format_help().rstrip("\n"))
            raise SystemExit(2)
        parsed, unknown = self.parse_known_args(given, namespace)
        if unknown:
            command = self._commands().get(getattr(parsed, "command", ""), self)
            command.error(_unknown(unknown, command))
        return parsed

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and leave with 2."""
        say(f"{self.format_usage()}{self.prog}: error: {message}")
        raise SystemExit(2)

    def _commands(self) -> dict[str, argparse.ArgumentParser]:
        """The parsers of the commands."""
        return {
            name: parser
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for name, parser in action.choices.items()
        }

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        raise argparse.ArgumentError(action, f"must be one of {', '.join(names)}, got {value!r}{_hint(value, names)}")


def _hint(value: Any, names: Sequence[str]) -> str:
    return did_you_mean(str(value), names) if suggestions(str(value), names) else ""


def _unknown(given: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """What is unknown, and for options which one was meant."""
    known = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    bare = {option.removeprefix("--").replace("-", "_"): option for option in known}
    for name in (argument.split("=")[0] for argument in given if argument.startswith("-")):
        meant = suggestions(name.lstrip("-").replace("-", "_"), bare)
        hint = f": did you mean {' or '.join(bare[each] for each in meant)}?" if meant else ""
        return f"unknown option {name}{hint or f': --help lists all of {parser.prog}'}"
    return f"unrecognized arguments: {' '.join(given)}"
