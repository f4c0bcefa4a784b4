"""What a registry's refusal means: to be tried again, or told to a person, in clean words."""

from __future__ import annotations

import json
from http import HTTPStatus

from engine.errors import Unavailable
from engine.registry.retry import TRANSIENT_STATUSES, Transient, parse_retry_after
from engine.registry.secret import quote_foreign
from engine.registry.transport import Response


def raise_if_transient(response: Response, body: bytes, domain: str) -> None:
    """Nothing when it will be the same the next time. Raises Transient."""
    status = response.status
    if status not in TRANSIENT_STATUSES:
        return
    after = parse_retry_after(response.headers.get("Retry-After"))
    if status == 429:
        later = f", try again in {after:.0f} seconds" if after else ""
        error = Unavailable(
            f"registry {domain}: too many requests{later}{words(body)}",
            f"pydock login {domain} raises the limit on many registries",
        )
    else:
        error = Unavailable(f"registry {domain}: answers {named(status)}{words(body)}")
    raise Transient(error, after)


def named(status: int) -> str:
    """`404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def words(body: bytes) -> str:
    """What the registry says of it, quoted; "" when it says nothing."""
    try:
        errors = json.loads(body)["errors"]
        text = "; ".join(f"{error.get('code')}: {error.get('message')}" for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = body.decode("utf-8", "replace")
    return f": {quote_foreign(text)}" if text.strip() else ""
