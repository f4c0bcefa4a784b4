"""A template's text cut into pieces: plain text and actions, and an action's tokens."""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import InvalidInput
from engine.named_tuple import NamedTuple

BLANK = " \t\r\n"


class Token(NamedTuple):
    """A piece of an action. `glued`: nothing stands between it and the token before."""

    kind: str  # word, field, variable, text, number, punctuation
    text: str
    glued: bool


def fail(reason: str) -> InvalidInput:
    return InvalidInput(
        f"template parsing error: {reason}", "for example --format '{{.ID}} {{json .}}'"
    )


def split(text: str) -> Iterator[tuple[bool, str]]:
    """(is an action, its text) one after the other, trim markers applied."""
    trim = False
    while text:
        plain, opened, rest = text.partition("{{")
        if trim:
            plain = plain.lstrip(BLANK)
        if not opened:
            yield False, plain
            return
        end = _action_end(rest)
        action, text = rest[:end], rest[end + 2 :]
        if action.startswith("-") and action[1:2] in BLANK:
            action, plain = action[1:], plain.rstrip(BLANK)
        trim = action.endswith("-") and action[-2:-1] in BLANK
        if trim:
            action = action[:-1]
        if plain:
            yield False, plain
        yield True, action


def _action_end(text: str) -> int:
    """Where the `}}` that closes the action begins: not within quotes."""
    position, quote = 0, ""
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\" and quote == '"':
                position += 1
            elif character == quote:
                quote = ""
        elif character in '"`':
            quote = character
        elif text.startswith("}}", position):
            return position
        position += 1
    raise fail("unterminated quoted string" if quote else "unclosed action")


def tokens(text: str) -> Iterator[Token]:
    position, length, glued = 0, len(text), False
    while position < length:
        character = text[position]
        if character in BLANK:
            position, glued = position + 1, False
            continue
        if text.startswith("/*", position):
            end = text.find("*/", position)
            if end < 0:
                raise fail("unclosed comment")
            position, glued = end + 2, False
            continue
        if character in '"`':
            end = _quote_end(text, position)
            yield Token("text", _unquote(text[position:end]), glued)
        elif character in "|(),":
            end = position + 1
            yield Token("punctuation", character, glued)
        elif character in ":=":
            end = position + (2 if text.startswith(":=", position) else 1)
            yield Token("punctuation", text[position:end], glued)
        else:
            end = position + 1
            while end < length and (text[end].isalnum() or text[end] in "_+-"):
                end += 1
            yield _word(text[position:end], glued)
        position, glued = end, True


def _word(text: str, glued: bool) -> Token:
    if text[0] == ".":
        return Token("field", text[1:], glued)
    if text[0] == "$":
        return Token("variable", text, glued)
    if text[0].isdecimal() or (text[0] in "+-" and len(text) > 1):
        return Token("number", text, glued)
    if text[0].isalpha() or text[0] == "_":
        return Token("word", text, glued)
    raise fail(f"unexpected {text[0]!r} in command")


def _quote_end(text: str, start: int) -> int:
    position = start + 1
    while text[position] != text[start]:
        position += 2 if text[position] == "\\" and text[start] == '"' else 1
    return position + 1


def _unquote(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    import json  # Go's escapes are JSON's, nearly: rare enough not to load it for all

    try:
        return str(json.loads(text))
    except ValueError as error:
        raise fail(f"invalid quoted string {text}") from error
