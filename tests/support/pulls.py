"""A store that pulls, and images worth pulling."""

import os
import random
from pathlib import Path
from typing import NamedTuple

from engine.engine import Cancel
from engine.home import Home
from engine.model.progress import Progress
from engine.oci.digest import ImageID, chain_ids
from engine.oci.platform import parse_platform
from engine.oci.reference import parse_reference
from engine.registry.hosts import Hosts
from engine.registry.pull import pull
from engine.registry.timeouts import Timeouts
from engine.storage.content import Content
from engine.storage.image_store import ImageStore
from engine.storage.metadata import Database
from tests.support.images import MadeImage, make_image

# It tries again at once. It waits for an answer as long as the product does: a machine at work is
# slow, not silent; a test of silence says itself how long it takes for one.
FAST = Timeouts(first_delay_seconds=0.025, longest_delay_seconds=1.5, longest_retry_after_seconds=3)


class Store(NamedTuple):
    """A store of this test's own, and what its pulls told."""

    home: Home
    database: Database
    content: Content
    images: ImageStore
    told: list[Progress]
    etc: Path

    def pull(
        self,
        reference: str,
        platform: str = "",
        *,
        cancel: Cancel | None = None,
        timeouts: Timeouts = FAST,
    ) -> ImageID:
        return pull(
            parse_reference(reference),
            parse_platform(platform) if platform else None,
            home=self.home,
            database=self.database,
            content=self.content,
            images=self.images,
            progress=self.told.append,
            cancel=cancel,
            timeouts=timeouts,
            hosts=Hosts(str(self.etc)),
        )

    def phases(self, name: str) -> list[str]:
        """What was told of one layer, repetitions left out."""
        phases: list[str] = []
        for step in self.told:
            if step.id == name and (not phases or phases[-1] != step.phase):
                phases.append(step.phase)
        return phases

    def tree(self, image: MadeImage, layer: int) -> dict[str, bytes | None]:
        """The files of one unpacked layer; directories and whiteouts are None."""
        (directory,) = self.database.first(
            "SELECT layer FROM chain WHERE chain_id=?", (chain_ids(image.diff_ids)[layer],)
        )
        root = Path(self.home.layer_dir(directory)) / "diff"
        return {
            path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
            for path in root.rglob("*")
        }

    def assert_nothing_half_made(self) -> None:
        """No rows, no layers, no staging: what is left is partial downloads alone."""
        for table in ("image", "layer", "chain", "reference", "lease"):
            assert not self.database.query(f"SELECT * FROM {table}"), table
        for name in ("layers", "l", "staging"):
            assert not os.listdir(f"{self.home.root}/{name}"), name


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def example(size: int = 100_000) -> MadeImage:
    """Two layers; the second, larger one hides a file of the first."""
    return make_image(
        [
            {"etc/": None, "etc/a": b"a", "etc/b": b"b"},
            {"etc/.wh.a": b"", "usr/": None, "usr/noise": noise(size)},
        ]
    )
