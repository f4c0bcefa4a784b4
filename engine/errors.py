"""The six kinds of failure that cross the engine's face.

Every message is lower case without a full stop: the object first, what was expected, what was
found. The hint names the next step. Each client maps the kinds once: exit code, HTTP status, flash.
"""


class EngineError(Exception):
    """A failure that a person can act on; never raised itself, only as one of its kinds."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "", *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    @property
    def kind(self) -> str:
        """The kind's name: `NotFound`, `Conflict` …"""
        return type(self).__name__


class NotFound(EngineError):
    """What was named does not exist."""


class Conflict(EngineError):
    """It exists already, is in use, or is in the wrong state for this."""


class InvalidInput(EngineError):
    """What was given cannot be understood, or breaks a limit."""


class Unavailable(EngineError):
    """A registry, the network, the disk or a permission is missing now; later it may work."""


class Corrupt(EngineError):
    """Bytes are not what their digest says."""


class Unsupported(EngineError):
    """This kernel, host or version cannot do it."""


class Cancelled(EngineError):
    """The caller asked for the work to end; what is resumable was kept."""

    exit_code = 130
