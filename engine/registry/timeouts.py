"""How long the registry client waits, how often it tries again, how much it reads."""

from engine.named_tuple import NamedTuple


class Timeouts(NamedTuple):
    """There is no total limit on purpose: a slow link may take a day, but never stand still."""

    connect_seconds: float = 10
    mirror_connect_seconds: float = 3  # a mirror that is down must not cost much
    headers_seconds: float = 30  # from the request to the first line of the answer
    put_seconds: float = 300  # the same for a PUT: a registry may copy the whole blob first
    stall_seconds: float = 30  # without a byte
    slow_seconds: float = 60  # below `slow_bytes_per_second` for so long: a new connection
    slow_bytes_per_second: int = 1024
    helper_seconds: float = 10  # a credential helper
    retries: int = 5
    refill_bytes: int = 1 << 20  # progress that gives all retries back
    first_delay_seconds: float = 0.5  # doubled each time
    longest_delay_seconds: float = 30
    longest_retry_after_seconds: float = 60  # a server that asks for more is told to the person
    retrying_seconds: float = 300  # in all, without progress
    error_bytes: int = 64 << 10
    token_bytes: int = 1 << 20
    downloads: int = 3  # at once, per pull
    uploads: int = 3  # at once, per push

    def scaled(self, factor: float) -> "Timeouts":
        """The same with every wait multiplied."""
        changes = {
            name: value * factor
            for name, value in self._asdict().items()
            if name.endswith("_seconds")
        }
        return self._replace(**changes)
