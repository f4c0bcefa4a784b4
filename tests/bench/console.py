"""The console: CPU and bytes to the first frame, memory, bytes while nothing and while something
happens."""

from pathlib import Path


def run(directory: Path) -> None:
    """Prints one table."""
