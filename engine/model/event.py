"""Something that happened, as it stands in the journal."""

from engine.named_tuple import NamedTuple


class Event(NamedTuple):
    """`kind` is container, image, network, volume or system; `action` is docker's word for it."""

    time_ns: int
    kind: str
    action: str
    id: str
    name: str
    attributes: dict[str, str]
