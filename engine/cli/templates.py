"""The part of Go's text/template that people use with `--format`, over dicts, lists and scalars.

https://pkg.go.dev/text/template: fields, variables, pipelines, parentheses, `if`, `range`, `with`,
`else`, trim markers and comments; its functions for logic, comparison, `len`, `index`, `print`;
docker's `json`, `join`, `split`, `lower`, `upper`, `title`, `truncate`, `pad`, `println`.
https://docs.docker.com/engine/cli/formatting/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.cli.template_tokens import Token, fail, split
from engine.cli.template_tokens import tokens as tokenize

Scope = dict[str, Any]
Node = Callable[[Any, Scope], str]
Expression = Callable[[Any, Scope], Any]

_MISSING = object()
_ENDS = ("end", "else")


def parse(text: str) -> Callable[[Any], str]:
    """A function from a value to the template's text for it. Raises InvalidInput, now for what
    cannot be parsed, later for what the value does not have."""
    node, _ = _Parser(text).nodes(top=True)

    def render(value: Any) -> str:
        return node(value, {"$": value})

    return render


class _Parser:
    """Recursive descent over pieces of text and actions."""

    def __init__(self, text: str) -> None:
        self._pieces = split(text)

    def nodes(self, *, top: bool = False) -> tuple[Node, list[Token]]:
        """Everything up to the `end` or `else` that closes this level, and that action."""
        parts: list[Node] = []
        for is_action, piece in self._pieces:
            if not is_action:
                parts.append(_constant(piece))
                continue
            tokens = list(tokenize(piece))
            if not tokens:
                if piece.strip():
                    continue  # a comment
                raise fail("missing value for command")
            word = tokens[0].text if tokens[0].kind == "word" else ""
            if word in _ENDS:
                if top:
                    raise fail(f"unexpected {{{{{word}}}}}")
                return _sequence(parts), tokens
            if word in ("if", "with", "range"):
                parts.append(self._block(word, tokens[1:]))
            else:
                parts.append(_action(tokens))
        if not top:
            raise fail("unexpected EOF: an {{end}} is missing")
        return _sequence(parts), []

    def _block(self, word: str, tokens: list[Token]) -> Node:
        names, tokens = _declaration(tokens)
        value = _Pipeline(tokens).whole()
        body, closing = self.nodes()
        otherwise: Node = _constant("")
        if closing[0].text == "else":
            if len(closing) > 1:  # {{else if …}} is an {{else}} that shares the {{end}}
                otherwise = self._block(closing[1].text, closing[2:])
            else:
                otherwise, last = self.nodes()
                if last[0].text != "end":
                    raise fail("expected end; found {{else}}")
        if word == "range":
            return _range(names, value, body, otherwise)

        def choose(dot: Any, scope: Scope) -> str:
            found = value(dot, scope)
            inner = {**scope, **dict.fromkeys(names, found)}
            if _truth(found):
                return body(found if word == "with" else dot, inner)
            return otherwise(dot, inner)

        return choose


def _range(names: list[str], value: Expression, body: Node, otherwise: Node) -> Node:
    def each(dot: Any, scope: Scope) -> str:
        found = value(dot, scope)
        if isinstance(found, Mapping):
            pairs: list[tuple[Any, Any]] = sorted(found.items())
        elif isinstance(found, Sequence) and not isinstance(found, str):
            pairs = list(enumerate(found))
        elif isinstance(found, int) and not isinstance(found, bool):
            pairs = [(number, number) for number in range(found)]
        elif found is None:
            pairs = []
        else:
            raise fail(f"range can't iterate over {show(found)}")
        if not pairs:
            return otherwise(dot, scope)
        parts = []
        for key, item in pairs:
            values = (key, item) if len(names) == 2 else (item,)
            parts.append(body(item, {**scope, **dict(zip(names, values, strict=False))}))
        return "".join(parts)

    return each


def _constant(text: str) -> Node:
    return lambda dot, scope: text


def _sequence(parts: list[Node]) -> Node:
    return lambda dot, scope: "".join(part(dot, scope) for part in parts)


def _action(tokens: list[Token]) -> Node:
    names, rest = _declaration(tokens)
    if names:
        value = _Pipeline(rest).whole()

        def declare(dot: Any, scope: Scope) -> str:
            scope[names[0]] = value(dot, scope)
            return ""

        return declare
    value = _Pipeline(tokens).whole()
    return lambda dot, scope: _shown(value(dot, scope))


def _declaration(tokens: list[Token]) -> tuple[list[str], list[Token]]:
    """Variables in front of `:=` or `=`, and what is behind it."""
    for position, token in enumerate(tokens[:4]):
        if token.text in (":=", "=") and token.kind == "punctuation":
            names = [each.text for each in tokens[:position] if each.text != ","]
            if not names or not all(name.startswith("$") for name in names):
                raise fail(f"unexpected {token.text!r} in operand")
            return names, tokens[position + 1 :]
    return [], tokens


# -- pipelines


class _Pipeline:
    """`command | command …`, a command being a value or a function with arguments."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = list(tokens)
        self._position = 0

    def whole(self) -> Expression:
        """All of it. Raises InvalidInput for what is left over."""
        value = self._pipeline()
        if self._position < len(self._tokens):
            raise fail(f"unexpected {self._tokens[self._position].text!r} in operand")
        return value

    def _next(self) -> Token | None:
        if self._position < len(self._tokens):
            return self._tokens[self._position]
        return None

    def _pipeline(self) -> Expression:
        value = self._command(None)
        while (token := self._next()) and token.text == "|" and token.kind == "punctuation":
            self._position += 1
            value = self._command(value)
        return value

    def _command(self, piped: Expression | None) -> Expression:
        token = self._next()
        if token is None:
            raise fail("missing value for command")
        if token.kind == "word" and token.text in FUNCTIONS:
            self._position += 1
            arguments: list[Expression] = []
            while self._next() and self._operand_follows():
                arguments.append(self._operand())
            if piped is not None:
                arguments.append(piped)
            return _call(token.text, arguments)
        if piped is not None:
            raise fail(f"non executable command in pipeline stage: {token.text!r}")
        return self._operand()

    def _operand_follows(self) -> bool:
        token = self._next()
        return token is not None and not (token.kind == "punctuation" and token.text in "|)")

    def _operand(self) -> Expression:
        token = self._next()
        assert token is not None
        self._position += 1
        value: Expression
        if token.kind == "field":
            name = token.text
            value = _identity if not name else _field(_identity, name)
        elif token.kind == "variable":
            value = _variable(token.text)
        elif token.kind == "text":
            value = _value(token.text)
        elif token.kind == "number":
            value = _value(_number(token.text))
        elif token.text == "(":
            value = self._pipeline()
            closing = self._next()
            if closing is None or closing.text != ")":
                raise fail("unclosed left paren")
            self._position += 1
        elif token.text in ("true", "false", "nil"):
            value = _value({"true": True, "false": False, "nil": None}[token.text])
        elif token.text in FUNCTIONS:
            value = _call(token.text, [])
        elif token.kind == "word":
            raise fail(f'function "{token.text}" not defined')
        else:
            raise fail(f"unexpected {token.text!r} in operand")
        while (after := self._next()) and after.kind == "field" and after.glued and after.text:
            self._position += 1
            value = _field(value, after.text)
        return value


def _identity(dot: Any, scope: Scope) -> Any:
    return dot


def _value(constant: Any) -> Expression:
    return lambda dot, scope: constant


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise fail(f"bad number syntax: {text!r}") from error


def _variable(name: str) -> Expression:
    def find(dot: Any, scope: Scope) -> Any:
        if name not in scope:
            raise fail(f'undefined variable "{name}"')
        return scope[name]

    return find


def _field(parent: Expression, name: str) -> Expression:
    def find(dot: Any, scope: Scope) -> Any:
        value = parent(dot, scope)
        if isinstance(value, Mapping):
            found = value.get(name, _MISSING)
            if found is not _MISSING:
                return found
            raise fail(f'at <.{name}>: no entry for key "{name}"')
        if value is None:
            raise fail(f"at <.{name}>: nil data; no entry for key {name!r}")
        raise fail(f"at <.{name}>: can't evaluate field {name} in {show(value)[:40]!r}")

    return find


def _call(name: str, arguments: list[Expression]) -> Expression:
    function = FUNCTIONS[name]

    def run(dot: Any, scope: Scope) -> Any:
        if name in ("and", "or"):  # these do not look further than they must
            found: Any = None
            for argument in arguments:
                found = argument(dot, scope)
                if _truth(found) == (name == "or"):
                    break
            return found
        values = [argument(dot, scope) for argument in arguments]
        try:
            return function(*values)
        except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            shown = " ".join(show(value)[:40] for value in values)
            raise fail(f"error calling {name}: wrong arguments: {shown}") from error

    return run


# -- values


def _truth(value: Any) -> bool:
    """Go's: false, 0, nil and whatever is empty are not."""
    return bool(value)


def _shown(value: Any) -> str:
    return "<no value>" if value is None else show(value)


def show(value: Any) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{show(key)}:{show(value[key])}' for key in sorted(value))}]"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(show, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def to_json(value: Any) -> str:
    """Compact JSON, as docker's `json` writes it."""
    import json  # only for who asks for it

    if isinstance(value, Mapping) and not isinstance(value, dict):
        value = dict(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif value is None:
            raise fail("error calling index: index of untyped nil")
        else:
            if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key < len(value):
                raise fail(f"error calling index: index out of range: {show(key)}")
            value = value[key]
    return value


def _slice(value: Any, start: int = 0, end: int | None = None) -> Any:
    return value[start:end]


def _equal(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


def _printed(*values: Any) -> str:
    """Go's Sprint: a blank between two values when neither is a string."""
    text = ""
    for position, value in enumerate(values):
        both = position and not isinstance(value, str) and not isinstance(values[position - 1], str)
        text += (" " if both else "") + show(value)
    return text


def _truncate(text: str, length: int) -> str:
    return text[:length]


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda *values: values[-1],
    "or": lambda *values: values[-1],
    "not": lambda value: not _truth(value),
    "len": len,
    "index": _index,
    "slice": _slice,
    "eq": _equal,
    "ne": lambda first, second: first != second,
    "lt": lambda first, second: first < second,
    "le": lambda first, second: first <= second,
    "gt": lambda first, second: first > second,
    "ge": lambda first, second: first >= second,
    "print": _printed,
    "println": lambda *values: " ".join(map(show, values)) + "\n",
    "json": to_json,
    "join": lambda values, separator: separator.join(map(str, values or ())),
    "split": lambda text, separator: text.split(separator),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "title": lambda text: text.title(),
    "truncate": _truncate,
    "pad": _pad,
}
