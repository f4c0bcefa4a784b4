"""The instructions that change an image's config alone: what `commit` and `import` take as changes.

Words, quotes and variables are read as in a Dockerfile; the config is the `config` object of the
image specification, with docker's fields beside them.

https://docs.docker.com/reference/dockerfile/ · image-spec, config.md
"""

import json
import posixpath
import re
from collections.abc import Callable
from typing import Any

from engine.errors import InvalidInput

Config = dict[str, Any]

KNOWN = (
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER",
    "VOLUME", "WORKDIR",
)  # fmt: skip
_EXPANDED = ("ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_OPTION = re.compile(r"--([a-z-]+)=(\S+)\s*")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+")
_UNITS_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9
}  # fmt: skip
_SHELL = ["/bin/sh", "-c"]


def apply_change(config: Config, line: str) -> None:
    """The instruction in `line` has its effect on `config`. Raises InvalidInput."""
    word, _, rest = line.strip().partition(" ")
    name, rest = word.upper(), rest.strip()
    if name not in KNOWN:
        raise InvalidInput(
            f"{name or 'empty line'} is not a valid change command", f"one of {', '.join(KNOWN)}"
        )
    if not rest:
        raise InvalidInput(
            f"{name} requires at least one argument", f"for example {_EXAMPLES[name]}"
        )
    environment = dict(entry.partition("=")[::2] for entry in config.get("Env") or ())
    expand = environment if name in _EXPANDED else None
    _CHANGES[name](config, rest, expand)


Environment = dict[str, str] | None


def _cmd(config: Config, rest: str, environment: Environment) -> None:
    config["Cmd"] = _command(config, rest)


def _entrypoint(config: Config, rest: str, environment: Environment) -> None:
    config["Entrypoint"] = _command(config, rest)


def _command(config: Config, rest: str) -> list[str]:
    return _json_words(rest) or [*(config.get("Shell") or _SHELL), rest]


def _env(config: Config, rest: str, environment: Environment) -> None:
    entries = [entry.partition("=")[::2] for entry in config.get("Env") or ()]
    known = dict(entries)
    for key, value in _pairs("ENV", rest, environment):
        known[key] = value
    config["Env"] = [f"{key}={value}" for key, value in known.items()]


def _label(config: Config, rest: str, environment: Environment) -> None:
    config["Labels"] = dict(config.get("Labels") or {}) | dict(_pairs("LABEL", rest, environment))


def _expose(config: Config, rest: str, environment: Environment) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(rest, environment):
        match = _PORT.fullmatch(word)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else 0
        if match is None or not 0 < first <= last <= 65535:
            raise InvalidInput(f"invalid containerPort: {word}", "for example EXPOSE 80 443/udp")
        for port in range(first, last + 1):
            ports[f"{port}/{(match[3] or 'tcp').lower()}"] = {}
    config["ExposedPorts"] = ports


def _volume(config: Config, rest: str, environment: Environment) -> None:
    words = _json_words(rest)
    paths = words if words is not None else _words(rest, environment)
    if not all(path.strip() for path in paths):
        raise InvalidInput("VOLUME specified can not be an empty string", "VOLUME /data")
    config["Volumes"] = dict(config.get("Volumes") or {}) | {path: {} for path in paths}


def _user(config: Config, rest: str, environment: Environment) -> None:
    config["User"] = _one("USER", rest, environment)


def _workdir(config: Config, rest: str, environment: Environment) -> None:
    here = config.get("WorkingDir") or "/"
    config["WorkingDir"] = posixpath.normpath(
        posixpath.join("/", here, " ".join(_words(rest, environment)))
    )


def _stopsignal(config: Config, rest: str, environment: Environment) -> None:
    signal = _one("STOPSIGNAL", rest, environment)
    if not re.fullmatch(r"[A-Za-z0-9+-]+", signal):
        raise InvalidInput(f"invalid signal: {signal}", "for example STOPSIGNAL SIGTERM")
    config["StopSignal"] = signal


def _onbuild(config: Config, rest: str, environment: Environment) -> None:
    trigger = rest.split()[0].upper()
    if trigger == "ONBUILD":
        raise InvalidInput("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise InvalidInput(f"{trigger} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), rest]


def _healthcheck(config: Config, rest: str, environment: Environment) -> None:
    check: dict[str, Any] = {}
    while match := _OPTION.match(rest):
        _health_option(check, match[1], match[2])
        rest = rest[match.end() :]
    kind, _, command = rest.partition(" ")
    command = command.strip()
    if kind.upper() == "NONE" and not command:
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not command:
        raise InvalidInput(
            f"unknown type {kind or 'none'} in HEALTHCHECK (try CMD)",
            _EXAMPLES["HEALTHCHECK"],
        )
    words = _json_words(command)
    check["Test"] = ["CMD", *words] if words else ["CMD-SHELL", command]
    config["Healthcheck"] = check


def _health_option(check: dict[str, Any], name: str, value: str) -> None:
    keys = {
        "interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod",
        "start-interval": "StartInterval",
    }  # fmt: skip
    if name == "retries":
        if not value.isascii() or not value.isdecimal() or not int(value):
            raise InvalidInput(f"--retries must be at least 1 (not {value})")
        check["Retries"] = int(value)
    elif name in keys:
        if not _DURATION.fullmatch(value):
            raise InvalidInput(f'invalid duration "{value}" for --{name}', "for example 30s, 1m30s")
        parts = re.findall(r"([0-9.]+)([a-zµ]+)", value)
        check[keys[name]] = sum(round(float(number) * _UNITS_NS[unit]) for number, unit in parts)
    else:
        raise InvalidInput(f"unknown flag: --{name}", _EXAMPLES["HEALTHCHECK"])


_CHANGES: dict[str, Callable[[Config, str, Environment], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
_EXAMPLES = {
    "CMD": 'CMD ["nginx", "-g", "daemon off;"]',
    "ENTRYPOINT": 'ENTRYPOINT ["/entry"]',
    "ENV": "ENV NAME=value",
    "EXPOSE": "EXPOSE 80",
    "HEALTHCHECK": "HEALTHCHECK --interval=30s CMD curl -f http://localhost/",
    "LABEL": "LABEL key=value",
    "ONBUILD": "ONBUILD RUN make",
    "STOPSIGNAL": "STOPSIGNAL SIGTERM",
    "USER": "USER 1000:1000",
    "VOLUME": "VOLUME /data",
    "WORKDIR": "WORKDIR /srv",
}


# -- words


def _json_words(text: str) -> list[str] | None:
    """The exec form's words; None when `text` is not of that form."""
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None  # as docker: then it is a shell's line
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return words


def _one(name: str, rest: str, environment: Environment) -> str:
    words = _words(rest, environment)
    if len(words) != 1:
        raise InvalidInput(
            f"{name} requires exactly one argument", f"for example {_EXAMPLES[name]}"
        )
    return words[0]


def _pairs(name: str, rest: str, environment: Environment) -> list[tuple[str, str]]:
    """`a=1 b="2 3"`, or the old `a 1 2`."""
    raw = _split(rest)
    if "=" not in raw[0]:
        if len(raw) < 2:
            raise InvalidInput(f"{name} must have two arguments", f"for example {_EXAMPLES[name]}")
        key, _, value = rest.partition(" ")
        return [(_unquoted(key, environment), _unquoted(value.strip(), environment))]
    found: list[tuple[str, str]] = []
    for word in raw:
        key, equals, value = word.partition("=")
        key = _unquoted(key, environment)
        if not equals:
            raise InvalidInput(
                f"syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        if not key:
            raise InvalidInput(f"{name} names can not be blank")
        found.append((key, _unquoted(value, environment)))
    return found


def _words(rest: str, environment: Environment) -> list[str]:
    return [_unquoted(word, environment) for word in _split(rest)]


def _split(text: str) -> list[str]:
    """Words between blanks, their quotes and backslashes still in them. Raises InvalidInput."""
    words: list[str] = []
    word, quote, position = "", "", 0
    started = False
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'" and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            started = True
            continue
        position += 1
        if character.isspace() and not quote:
            if started:
                words.append(word)
            word, started = "", False
            continue
        started = True
        word += character
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
    if quote:
        raise InvalidInput(f"unexpected end of statement while looking for matching {quote}")
    return words + ([word] if started else [])


def _unquoted(word: str, environment: Environment) -> str:
    """The word without its quotes, and with variables where it may have them."""
    result, quote, position = "", "", 0
    while position < len(word):
        character = word[position]
        if character == "\\" and quote != "'" and position + 1 < len(word):
            following = word[position + 1]
            keep = quote == '"' and following not in '"$\\'
            result += f"\\{following}" if keep else following
            position += 2
        elif character in "'\"" and quote in ("", character):
            quote = "" if quote else character
            position += 1
        elif character == "$" and quote != "'" and environment is not None:
            value, position = _variable(word, position + 1, environment)
            result += value
        else:
            result += character
            position += 1
    return result


def _variable(word: str, position: int, environment: dict[str, str]) -> tuple[str, int]:
    """`NAME`, `{NAME}`, `{NAME:-word}` or `{NAME:+word}` at `position`, and where it ends."""
    if word[position : position + 1] != "{":
        match = _NAME.match(word, position)
        return (environment.get(match[0], ""), match.end()) if match else ("$", position)
    end = word.find("}", position)
    match = _NAME.match(word, position + 1)
    if end < 0 or match is None:
        raise InvalidInput(f"syntax error: missing '}}' or name in {word!r}")
    name, modifier = match[0], word[match.end() : end]
    value = environment.get(name, "")
    if not modifier:
        return value, end + 1
    if modifier[:2] not in (":-", ":+"):
        raise InvalidInput(f"unsupported modifier ({modifier[:2]}) in substitution")
    other = _unquoted(modifier[2:], environment)
    chosen = (value or other) if modifier[1] == "-" else (other if value else "")
    return chosen, end + 1
