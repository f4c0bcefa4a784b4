"""Passwords and tokens, kept out of messages, logs and tracebacks; and foreign words, made safe."""

import base64


class Secret:
    """A value that never shows itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def reveal(self) -> str:
        """The value, for the one place that sends it."""
        return self._value


def basic_authorization(user: str, password: Secret) -> str:
    """The header's value. https://www.rfc-editor.org/rfc/rfc7617"""
    joined = f"{user}:{password.reveal()}".encode()
    return f"Basic {base64.b64encode(joined).decode()}"


def quote_foreign(text: str, limit: int = 300) -> str:
    """What another machine says, quoted: at most `limit` characters, no control characters."""
    cleaned = "".join(c if c.isprintable() else " " for c in text[: limit * 4])
    cleaned = " ".join(cleaned.split())
    if len(cleaned) > limit:
        cleaned = f"{cleaned[: limit - 1]}…"
    return f'"{cleaned}"'
