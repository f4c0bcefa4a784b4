"""`--cidfile`: a file with the new container's id, which must not be there before."""

from __future__ import annotations

import os
from collections.abc import Callable

from engine.errors import Conflict, InvalidInput


def with_id_in(path: str, create: Callable[[], str]) -> str:
    """The id that `create` gave, also in the file `path`; without one there is no file. Raises
    Conflict, InvalidInput."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise Conflict(
            "container ID file found, make sure the other container isn't running or delete "
            f"{path}",
            "name another file",
        ) from error
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise InvalidInput(
            f"failed to create the container ID file: open {path}: {reason}",
            "name a file in a directory that exists",
        ) from error
    try:
        container_id = create()
        os.write(descriptor, container_id.encode())
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)
    return container_id
