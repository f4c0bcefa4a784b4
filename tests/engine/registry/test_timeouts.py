from engine.registry.timeouts import Timeouts


def test_only_waits_are_scaled() -> None:
    scaled = Timeouts().scaled(1 / 20)
    assert scaled.stall_seconds == 1.5
    assert scaled.slow_bytes_per_second == Timeouts().slow_bytes_per_second
    assert (scaled.retries, scaled.downloads) == (5, 3)
