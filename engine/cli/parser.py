"""Command lines as docker's are: flags, `--help`, and what is said of mistakes.

Own code, because importing argparse costs as much as a whole `pydock ps` (10 ms), and because its
rules are not docker's: https://pkg.go.dev/github.com/spf13/pflag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, InvalidInput, Unsupported
from engine.named_tuple import NamedTuple

if TYPE_CHECKING:
    from engine.cli.call import Call

USAGE_EXIT = 125  # what docker's flags end with
_WIDTH = 80
_SEVERAL = ("filter", "list", "map", "mount", "ulimit")  # kinds that may be given again
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Flag(NamedTuple):
    """`-s, --name KIND`. Kind `bool` takes no value; `list` may be given more than once."""

    name: str
    text: str
    short: str = ""
    kind: str = "bool"
    default: str = ""
    read: Callable[[str], Any] | None = None
    hidden: bool = False

    @property
    def shown(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Command(NamedTuple):
    """A verb: what it is called, takes and does. `refused` are docker's flags that are not built
    yet; `ordered`: flags end at the first word; `starts`: a container, most of the time."""

    name: str
    usage: str
    text: str
    run: Callable[[Call], int]
    flags: tuple[Flag, ...] = ()
    refused: str = ""
    least: int = 0
    most: int | None = None
    ordered: bool = False
    aliases: str = ""
    starts: bool = False


class Arguments(NamedTuple):
    """What was given: flags by name, and words."""

    flags: Mapping[str, Any]
    words: Sequence[str]

    def on(self, name: str) -> bool:
        """A bool flag's value."""
        return bool(self.flags.get(name, False))

    def one(self, name: str, default: str = "") -> str:
        """The last text given."""
        return str(self.flags.get(name, default))

    def value(self, name: str, default: Any = None) -> Any:
        """What the flag's `read` made of it."""
        return self.flags.get(name, default)

    def many(self, name: str) -> list[Any]:
        """Everything given, in order."""
        return list(self.flags.get(name, ()))


HELP = Flag("help", "Print usage")


def integer(text: str) -> int:
    """A flag's whole number. Raises InvalidInput in Go's words."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 18:
        raise InvalidInput(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def pair(text: str) -> tuple[str, str]:
    """A filter's name and value. Raises InvalidInput in docker's words."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


def label(text: str) -> tuple[str, str]:
    """A label's key and value. Raises InvalidInput in docker's words."""
    key, _, value = text.partition("=")
    if not key:
        raise InvalidInput(f"invalid label '{text}': empty name")
    return key, value


def parse(command: Command, words: Sequence[str]) -> Arguments:
    """Flags and words of one command line. Raises InvalidInput, Unsupported."""
    taken = take_flags(command.flags, words, command.name, command.refused, command.ordered)
    if not taken.on("help"):
        check_count(command, len(taken.words))
    return taken


def take_flags(
    flags: Iterable[Flag],
    words: Sequence[str],
    command: str,
    refused: str = "",
    ordered: bool = False,
) -> Arguments:
    """The flags among `words`, up to `--`, or to the first that is none when `ordered`."""
    by_name = {flag.name: flag for flag in (*flags, HELP)}
    by_short = {flag.short: flag for flag in by_name.values() if flag.short}
    given: dict[str, Any] = {}
    rest: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            rest += words[position:]
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            flag = by_name.get(name)
            if flag is None:
                raise _unknown(f"--{name}", f"unknown flag: --{name}", command, refused)
            if flag.kind == "bool":
                value = value if equals else "true"
            elif not equals:
                value, position = _following(words, position, f"--{name}", command)
            _put(given, flag, value, command)
        elif word.startswith("-") and word != "-":
            position = _shorts(word, words, position, by_short, given, command, refused)
        else:
            rest.append(word)
            if ordered:
                rest += words[position:]
                break
    return Arguments(given, rest)


def _shorts(
    word: str,
    words: Sequence[str],
    position: int,
    by_short: Mapping[str, Flag],
    given: dict[str, Any],
    command: str,
    refused: str,
) -> int:
    """`-it`, `-p80:80`, `-e A=1`: where the next word is."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = by_short.get(letter)
        if flag is None:
            said = f"unknown shorthand flag: {letter!r} in {word}"
            raise _unknown(f"-{letter}", said, command, refused)
        if flag.kind == "bool":
            value = "true"
            if letters.startswith("="):
                value, letters = letters[1:], ""
        elif letters:
            value, letters = letters.removeprefix("="), ""
        else:
            value, position = _following(words, position, f"{letter!r} in {word}", command)
        _put(given, flag, value, command)
    return position


def _following(words: Sequence[str], position: int, what: str, command: str) -> tuple[str, int]:
    if position >= len(words):
        raise _usage(f"flag needs an argument: {what}", command)
    return words[position], position + 1


def _put(given: dict[str, Any], flag: Flag, text: str, command: str) -> None:
    value: Any = text
    try:
        if flag.kind == "bool":
            if text not in _TRUE + _FALSE:
                raise InvalidInput(f'strconv.ParseBool: parsing "{text}": invalid syntax')
            value = text in _TRUE
        elif flag.read is not None:
            value = flag.read(text)
    except EngineError as error:
        said = f'invalid argument "{text}" for "{flag.shown}" flag: {error.message}'
        raise _usage(said, command) from error
    if flag.kind in _SEVERAL:
        given.setdefault(flag.name, []).append(value)
    else:
        given[flag.name] = value


def _usage(message: str, command: str) -> InvalidInput:
    return InvalidInput(message, see(command), exit_code=USAGE_EXIT)


def _unknown(flag: str, message: str, command: str, refused: str) -> EngineError:
    if flag in refused.split():
        return Unsupported(
            f"flag {flag}: not supported by pydock yet",
            f"leave it out; '{f'pydock {command}'.rstrip()} --help' lists what there is",
            exit_code=USAGE_EXIT,
        )
    return _usage(message, command)


def see(command: str) -> str:
    """The hint to a command's help."""
    return f"See '{f'pydock {command}'.rstrip()} --help'."


def check_count(command: Command, count: int) -> None:
    """Raises InvalidInput, in docker's words, when there are too few or too many words."""
    least, most = command.least, command.most
    if count >= least and (most is None or count <= most):
        return
    if most == 0:
        wanted = "accepts no arguments"
    else:
        number = least if count < least or most is None else most
        bound = "" if least == most else "at least " if count < least else "at most "
        wanted = f"requires {bound}{number} argument{'' if number == 1 else 's'}"
    raise InvalidInput(f"'pydock {command.name}' {wanted}", see(command.name))


# -- help


def usage(command: Command) -> str:
    """The text of `--help`."""
    lines = [f"Usage:  pydock {command.name}{' ' if command.usage else ''}{command.usage}"]
    lines += ["", command.text]
    if command.aliases:
        lines += ["", "Aliases:", f"  {command.aliases}"]
    shown = sorted((flag for flag in command.flags if not flag.hidden), key=lambda each: each.name)
    if shown:
        lines += ["", "Options:", *options(shown)]
    return "\n".join(lines)


def options(flags: Sequence[Flag]) -> list[str]:
    """The lines of flags, their texts below each other and wrapped."""
    heads = []
    for flag in flags:
        head = f"  -{flag.short}, " if flag.short else "      "
        kind = "" if flag.kind == "bool" else f" {flag.kind}"
        heads.append(f"{head}--{flag.name}{kind}")
    indent = max(map(len, heads)) + 3
    lines = []
    for flag, head in zip(flags, heads, strict=True):
        text = flag.text + (f" (default {flag.default})" if flag.default else "")
        first, *rest = _wrap(text, _WIDTH - indent)
        lines.append(f"{head:<{indent}}{first}")
        lines += [" " * indent + line for line in rest]
    return lines


def _wrap(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines
