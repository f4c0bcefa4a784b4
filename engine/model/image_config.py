"""What a container takes from its image; a file of its own, as a start needs no more of images."""

from engine.named_tuple import NamedTuple


class ImageConfig(NamedTuple):
    """The image's own words: data, not to be trusted."""

    env: tuple[str, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    user: str
    exposed_ports: tuple[str, ...]  # "80/tcp"
    volumes: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    stop_signal: str
