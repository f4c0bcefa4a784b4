"""An image opened for looking inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.oci.reference import parse_reference

if TYPE_CHECKING:
    from engine.engine import LayerView
    from engine.home import Home
    from engine.storage.image_store import ImageStore


class LayerService:
    """The face's `layers`."""

    def __init__(self, home: Home, store: ImageStore) -> None:
        self._home = home
        self._store = store

    def open(self, ref: str) -> LayerView:
        from engine.layers.tree import open_layers
        from engine.services.images import history_of

        row = self._store.get(ref)
        layers = self._store.layers_of(row)
        sharers = self._store.sharers([layer[0] for layer in layers], row.id)
        names = self._store.references(row.id)
        return open_layers(
            parse_reference(names[0]).familiar if names else row.id[7:19],
            row.id,
            [f"{self._home.layer_dir(layer[0])}/layer.pdl" for layer in layers],
            history_of(self._store.config(row)),
            [tuple(sharers.get(layer[0], ())) for layer in layers],
        )
