"""A stage for one widget: an application that shows nothing else."""

from textual.app import ComposeResult
from textual.widget import Widget

from tui import theme
from tui.output import OutputApp
from tui.terminal import Terminal
from tui.widgets.drawn import Drawn


class Stage(OutputApp, inherit_bindings=False):
    """`async with Stage(widget).run_test(size=(80, 10)):` — the widget fills the screen."""

    CSS = "#it { width: 100%; height: 100%; }"

    def __init__(self, widget: Drawn, look: str = "night") -> None:
        super().__init__(theme.load(look, {}), Terminal())
        self.widget = widget
        self.messages: list[object] = []
        widget.id = "it"

    def compose(self) -> ComposeResult:
        yield self.widget

    def on_mount(self) -> None:
        self.widget.activate(True)

    def on_list_table_chosen(self, event: object) -> None:
        self.messages.append(event)

    def on_tree_view_chosen(self, event: object) -> None:
        self.messages.append(event)


def text_of(widget: Widget) -> list[str]:
    """The rows of the screen as text, without blanks at their ends."""
    strips = widget.screen._compositor.render_strips()
    return [strip.text.rstrip() for strip in strips]
