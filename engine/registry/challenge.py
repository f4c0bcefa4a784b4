"""What a 401 asks for.

https://www.rfc-editor.org/rfc/rfc9110#field.www-authenticate: several headers, several challenges
in each, and commas that separate both challenges and parameters.
"""

import re
from collections.abc import Iterable

from engine.named_tuple import NamedTuple

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NEXT = re.compile(
    rf"""[\s,]*(?:
    (?P<name>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>{_TOKEN}))\s*(?=,|$)
    |(?P<scheme>{_TOKEN})(?:\s+(?P<token68>[A-Za-z0-9._~+/-]+=*)\s*(?=,|$)|\s+|\s*(?=,|$))
    )""",
    re.VERBOSE,
)


class Challenge(NamedTuple):
    """One way to be let in."""

    scheme: str  # lower case: "bearer", "basic"
    parameters: dict[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of all WWW-Authenticate headers, in their order. What cannot be read ends
    the header it stands in."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        inside = False
        while match := _NEXT.match(header, position):
            position = match.end()
            if match["scheme"]:
                found.append(Challenge(match["scheme"].lower(), {}))
                inside = True
            elif inside:
                value = match["plain"]
                if value is None:
                    value = re.sub(r"\\(.)", r"\1", match["quoted"])
                found[-1].parameters.setdefault(match["name"].lower(), value)
    return found
