"""From a history's words to lines of a Dockerfile, and changes to such lines."""

import re

_ARGUMENTS = re.compile(r"\|\d+ (?:\S+=(?:\"[^\"]*\"|\S*) )*?(?=/bin/|/usr/bin/|RUN )")
# Old docker and buildah note what was copied by its hash.
_COPIED = re.compile(r"(COPY|ADD) (?:(?:file|dir|multi):[0-9a-f]+ )+in (\S+)")
_SHELLS = ("/bin/sh -c ", "/bin/bash -c ", "/bin/ash -c ", "/bin/bash -o pipefail -c ")


def dockerfile_line(command: str) -> str:
    """`RUN apt-get update` of `/bin/sh -c apt-get update`; "" of nothing."""
    text = " ".join(command.split()).removesuffix("# buildkit").strip()
    if not text:
        return ""
    text = _COPIED.sub(r"\1 … \2", _ARGUMENTS.sub("", text))
    for shell in _SHELLS:
        if text.startswith(f"RUN {shell}"):
            return "RUN " + text[len(shell) + 4 :].strip()
        if text.startswith(shell):
            rest = text[len(shell) :].strip()
            if rest.startswith("#(nop)"):
                return rest.removeprefix("#(nop)").strip()
            return f"RUN {rest}"
    return text


def is_run(line: str) -> bool:
    return line.startswith("RUN ")


def is_copy(line: str) -> bool:
    return line.startswith(("COPY ", "ADD "))


def appended(line: str, command: str) -> str:
    """A patch: the same RUN, with `command` at its end; "" where the line is no RUN."""
    return changed(line, f"{line} && {command}") if is_run(line) else ""


def changed(old: str, new: str) -> str:
    """A patch of one line."""
    return f"-{old}\n+{new}"
