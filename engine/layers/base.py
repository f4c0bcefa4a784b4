"""Which layers came with the base image."""

from collections.abc import Sequence

from engine.model.image import HistoryEntry

_ENDS = ("CMD", "ENTRYPOINT")  # a Dockerfile's last word, so what follows is another one's


def base_layers(history: Sequence[HistoryEntry], layers: int) -> int:
    """How many layers at the bottom are most likely the base image's: all up to the last step that
    ends a Dockerfile, if layers follow; 0 when the history does not say."""
    if sum(not step.empty_layer for step in history) != layers:
        return 0
    below = found = 0
    for step in history:
        if not step.empty_layer:
            below += 1
        elif _instruction(step.created_by) in _ENDS and below < layers:
            found = below
    return found


def _instruction(command: str) -> str:
    """`CMD` of `/bin/sh -c #(nop)  CMD ["bash"]`, as of `CMD ["bash"]`."""
    text = command.partition("#(nop)")[2] if "#(nop)" in command else command
    return text.strip().partition(" ")[0].upper()
