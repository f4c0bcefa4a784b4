"""Keys and what they do by default. `^d` is control and d, `s-tab` shift and tab."""

from textual.events import Key

NAMES = {
    "escape": "esc",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "shift+tab": "s-tab",
    "backspace": "back",
}

DEFAULT: dict[str, tuple[str, ...]] = {
    "app.filter": ("/",),
    "app.command": (":",),
    "app.help": ("?",),
    "app.palette": ("^p",),
    "app.pull": ("p",),
    "app.cancel": ("^x",),
    "app.jobs": ("J",),
    "app.search": ("S",),
    "app.disk": ("D",),
    "app.login": ("I",),
    "app.next-pane": ("tab",),
    "app.previous-pane": ("s-tab",),
    "app.next-tab": ("]",),
    "app.previous-tab": ("[",),
    "app.detail": ("enter", "v"),
    "app.back": ("esc",),
    "app.error": ("e",),
    "app.refresh": ("^r",),
    "app.repaint": ("^l",),
    "app.quit": ("q", "^q", "^c"),
    "move.down": ("j", "down"),
    "move.up": ("k", "up"),
    "move.page-down": ("pgdn", "^f"),
    "move.page-up": ("pgup", "^u"),
    "move.first": ("g", "home"),
    "move.last": ("G", "end"),
    "move.left": ("left",),
    "move.right": ("right",),
    "table.mark": ("space",),
    "table.sort": ("o",),
    "table.reverse": ("O",),
    "tree.toggle": ("enter", "space"),
    "tree.expand": ("E",),
    "tree.sort": ("o",),
    "log.follow": ("F",),
    "containers.logs": ("l",),
    "containers.shell": ("s",),
    "containers.start": ("u",),
    "containers.stop": ("x",),
    "containers.restart": ("r",),
    "containers.remove": ("^d", "delete"),
    "containers.pause": ("P",),
    "containers.kill": ("^k",),
    "containers.processes": ("t",),
    "containers.inspect": ("d",),
    "containers.unmask": ("U",),
    "containers.image": ("i",),
    "containers.commit": ("C",),
    "containers.prune": ("b",),
    "images.layers": ("enter",),
    "images.tag": ("t",),
    "images.untag": ("T",),
    "images.remove": ("^d", "delete"),
    "images.push": ("P",),
    "images.save": ("X",),
    "images.load": ("L",),
    "images.unmask": ("U",),
    "images.history": ("h",),
    "images.used-by": ("u",),
    "images.prune": ("b",),
    "images.group": ("a",),
    "images.inspect": ("d",),
    "layers.part": ("tab",),
    "layers.view": ("a",),
    "layers.waste": ("w",),
    "layers.image": ("i",),
    "waste.open": ("enter",),
    "networks.prune": ("b",),
    "networks.map": ("m",),
    "networks.ports": ("w",),
    "networks.inspect": ("d",),
    "volumes.measure": ("s",),
    "volumes.inspect": ("d",),
    "volumes.prune": ("b",),
}


def name_of(event: Key) -> str:
    """The key as it is written here: `x`, `?`, `^d`, `esc`, `pgdn`."""
    if event.key == "space":
        return "space"
    if event.is_printable and event.character:
        return event.character
    if event.key in NAMES:
        return NAMES[event.key]
    head, plus, rest = event.key.partition("+")
    return f"^{rest}" if plus and head == "ctrl" else event.key
