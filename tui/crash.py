"""A mistake of the console's own: a report for whoever mends it, one line for whoever used it.

Variables hold what nobody should read over a shoulder (a container's environment, passwords), so
no traceback reaches the terminal and none that is kept says what they held.
"""

import os
import platform
import tempfile
import time
import traceback
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent.parent


def tell(error: BaseException, environ: Mapping[str, str]) -> list[str]:
    """Lines for standard error: what happened and where its report is, which is written (0600)."""
    root = root_of(error)
    said = f"a mistake of the console's own: {type(root).__name__} in {_place(root)}"
    try:
        hint = f"report: {_write(_report(error, environ), environ)}"
    except OSError as failure:
        hint = f"no report: {failure.strerror}"
    return [said, f"{hint}; containers run on"]


def root_of(error: BaseException) -> BaseException:
    """The exception itself, out of the groups that it came in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def directory(environ: Mapping[str, str]) -> Path:
    """Where reports lie."""
    base = environ.get("XDG_STATE_HOME")
    base = base or os.path.join(environ.get("HOME", "/"), ".local", "state")
    return Path(base) / "pydock"


def _place(error: BaseException) -> str:
    """The last line of ours that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(HERE)]
    if not frames:
        return "an unknown place"
    frame = (ours or frames)[-1]
    path = Path(frame.filename)
    name = path.relative_to(HERE) if ours else path.name
    return f"{name}, line {frame.lineno}"


def _report(error: BaseException, environ: Mapping[str, str]) -> str:
    facts = (
        time.strftime("%Y-%m-%d %H:%M:%S %z"),
        ", ".join(f"{name} {_version(name)}" for name in ("pydock-tui", "textual")),
        f"Python {platform.python_version()}, {platform.platform()}",
        *(f"{name}={environ.get(name, '')}" for name in ("TERM", "COLORTERM", "LANG")),
    )
    return "\n".join((*facts, "", *traceback.format_exception(error)))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _write(text: str, environ: Mapping[str, str]) -> str:
    """The path of a new file that holds it: in the state directory, else where temporary files
    lie. Raises OSError where neither can be written."""
    prefix = time.strftime("crash-%Y%m%d-%H%M%S-")
    try:
        place = directory(environ)
        place.mkdir(0o700, parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(".txt", prefix, place)
    except OSError:
        descriptor, path = tempfile.mkstemp(".txt", f"pydock-{prefix}")
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return path
