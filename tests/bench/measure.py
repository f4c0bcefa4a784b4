"""Wall and CPU seconds of commands, interleaved, with idle time between."""

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Sample(NamedTuple):
    wall_seconds: float
    cpu_seconds: float


Action = Callable[[], Sample]


def command(argv: Sequence[str | os.PathLike[str]], env: Mapping[str, str] | None = None) -> Sample:
    """One run of `argv`; it must succeed. CPU is of it and its awaited children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: {done.returncode}\n{done.stdout.decode()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(wall, cpu)


def interleaved(
    actions: Mapping[str, Action],
    rounds: int,
    *,
    idle_seconds: float = 0.2,
    between: Callable[[str], None] = lambda name: None,
) -> dict[str, Sample]:
    """The medians of each action over `rounds` rounds, taken in turn; the first round is thrown
    away. `between(name)` runs, unmeasured, before each."""
    samples: dict[str, list[Sample]] = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for name, action in actions.items():
            between(name)
            time.sleep(idle_seconds)
            sample = action()
            if turn:
                samples[name].append(sample)
    return {
        name: Sample(
            statistics.median(sample.wall_seconds for sample in taken),
            statistics.median(sample.cpu_seconds for sample in taken),
        )
        for name, taken in samples.items()
    }


def table(title: str, ours: str, results: Mapping[str, Sample]) -> None:
    """Print one Markdown table: milliseconds, and our wall and CPU time as ratios to each."""
    print(f"\n**{title}**\n")
    print("| | wall ms | CPU ms | ours / it | CPU |")
    print("|---|--:|--:|--:|--:|")
    base = results[ours]
    for name, sample in results.items():
        ratios = " | "
        if name != ours:
            wall = base.wall_seconds / sample.wall_seconds
            ratios = f"{wall:.2f} | {base.cpu_seconds / sample.cpu_seconds:.2f}"
        print(
            f"| {name} | {sample.wall_seconds * 1000:.1f} | {sample.cpu_seconds * 1000:.1f} "
            f"| {ratios} |",
            flush=True,
        )
