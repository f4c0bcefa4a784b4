"""The tags of a repository on its registry."""

from __future__ import annotations

import contextlib

from engine.engine import Cancel
from engine.oci.reference import Reference
from engine.registry.client import Repository
from engine.registry.hosts import Hosts
from engine.registry.retry import Retry
from engine.registry.timeouts import Timeouts


def find_tags(
    reference: Reference,
    *,
    cancel: Cancel | None = None,
    timeouts: Timeouts | None = None,
    hosts: Hosts | None = None,
) -> list[str]:
    """All of them, each once, in the registry's order. Raises NotFound, Unavailable, Cancelled."""
    cancel, timeouts = cancel or Cancel(), timeouts or Timeouts()
    with contextlib.closing(Repository(reference, hosts or Hosts(), timeouts, cancel)) as remote:
        return Retry(timeouts, cancel).run(lambda: list(dict.fromkeys(remote.tags())))
