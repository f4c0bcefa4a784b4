import gc

from engine.services.streams import Streams


class Closable:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_closing_ends_what_is_still_used() -> None:
    streams = Streams()
    kept = streams.add(Closable())
    streams.add(Closable())  # dropped at once
    gc.collect()
    streams.close()
    assert kept.closed == 1
