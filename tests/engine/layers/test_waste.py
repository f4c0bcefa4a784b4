"""Deaths added up by layer, cause and path."""

from engine.layers.waste import DELETED, OVERWRITTEN, Waste
from engine.model.layer import WasteRow


def test_sums_by_layer_cause_and_path() -> None:
    waste = Waste(3)
    waste.add(1, 10, 0, 1, OVERWRITTEN)
    waste.add(1, 20, 1, 2, DELETED)
    waste.add(2, 5, 0, 2, OVERWRITTEN)
    waste.add(3, 0, 0, 2, DELETED)
    assert waste.total_bytes == 35
    assert waste.by_layer == [15, 20, 0]
    assert waste.causes == {(0, 1, OVERWRITTEN): 10, (1, 2, DELETED): 20, (0, 2, OVERWRITTEN): 5}
    paths = ["", "gone", "here", "empty"]
    assert waste.rows(paths.__getitem__, [0, -1, 2, -1]) == [
        WasteRow("gone", 30, (0, 1), 2),
        WasteRow("here", 5, (0, 2), -1),
    ]
