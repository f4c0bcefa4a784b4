"""The size explorer's engine: merged trees, waste."""
