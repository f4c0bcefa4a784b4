"""What the other panes have to show: images with waste in them, networks, volumes, a registry."""

from engine.model.container import PortMapping
from engine.model.image_config import ImageConfig
from tests.support.double_images import Files
from tests.support.scene import DAY, NOW_NS, SECOND_NS, Scene

M, K = 1_000_000, 1_000
MODULES = "app/node_modules"
API = "shop/api:3.0"
API_LAYERS: tuple[tuple[str, Files], ...] = (
    (
        "/bin/sh -c #(nop) ADD file:51f0c7 in / ",
        {"bin/sh": 120 * K, "lib/libc.so.6": 2 * M, "etc/passwd": 900, "usr/bin/perl": 72 * M},
    ),
    (
        "RUN /bin/sh -c apt-get install -y build-essential python3 # buildkit",
        {"usr/lib/gcc/12/cc1": 74 * M, "usr/bin/gcc": 1_300 * K, "var/lib/dpkg/status": 1_900 * K},
    ),
    (
        "RUN /bin/sh -c npm ci # buildkit",
        {f"{MODULES}/esbuild/linux-x64/esbuild": 60 * M}
        | {f"{MODULES}/typescript/lib/part-{n:02}.js": 2 * M for n in range(20)}
        | {f"{MODULES}/.cache/pack": 31 * M, "root/.npm/index": 4 * M},
    ),
    ("COPY . /app # buildkit", {"app/server.js": 12 * K, "app/a\x1b[31mred.js": 3}),
    (
        "RUN /bin/sh -c chown -R node /app # buildkit",
        {f"{MODULES}/typescript/lib/part-{n:02}.js": 2 * M for n in range(20)},
    ),
    (
        "RUN /bin/sh -c apt-get purge -y build-essential # buildkit",
        {"usr/lib/gcc/12/cc1": None, "usr/bin/gcc": None},
    ),
)
CONFIG = ImageConfig(
    ("PATH=/usr/bin:/bin", "NPM_TOKEN=hunter2", "MODE=prod"),
    ("node",),
    ("server.js",),
    "/app",
    "",
    ("9000/tcp",),
    (),
    (("org.opencontainers.image.title", "the \x1b[5mshop"),),
    "SIGTERM",
)
IMAGES: tuple[tuple[str | None, dict[str, int], int], ...] = (
    ("mysql:8.4", {"usr/sbin/mysqld": 586 * M}, 60),
    ("ghcr.io/acme/inference/service:1.18.0-rc2", {"srv/model.bin": 344 * M}, 6),
    ("busybox:1.36", {"bin/busybox": 4 * M}, 90),
    (None, {"left/over": 40 * M}, 2),
)


def furnished(scene: Scene | None = None) -> Scene:
    """A scene with all of that, its times set by its clock."""
    scene = scene or Scene()
    world = scene.world
    ages = {scene.add_image(API, API_LAYERS, config=CONFIG): 3}
    ages[scene.add_image("shop/api:2.9", API_LAYERS[:4], config=CONFIG)] = 9
    for name, files, days in IMAGES:
        ages[scene.add_image(name, [files])] = days
    for image_id, image in list(world.images.items()):
        days = ages.get(image_id, 30)
        made_ns = NOW_NS - days * DAY * SECOND_NS
        layers = tuple(layer._replace(created_ns=made_ns) for layer in image.layers)
        history = tuple(step._replace(created_ns=made_ns) for step in image.history)
        world.images[image_id] = image._replace(created_ns=made_ns, layers=layers, history=history)
    scene.now_ns = NOW_NS - 21 * DAY * SECOND_NS
    scene.networks.create("backplane", internal=True)
    scene.networks.create("metrics")
    for name, network, port in (("job-1", "backplane", 0), ("probe", "metrics", 9200)):
        ports = (PortMapping(9200, "tcp", "127.0.0.1", port),) if port else ()
        scene.add_container(name, image=API, network=network, ports=ports, started_ns=scene.now_ns)
    scene.volumes.create("uploads", labels=(("keep", "1"),))
    scene.volumes.create("old_data")
    scene.set_usage("uploads", 18 * M, 340, NOW_NS - 120 * SECOND_NS)
    scene.set_usage("db-1_data", 3_400 * M, 2_104, NOW_NS - SECOND_NS)
    scene.volumes.measure("db-1_data")
    scene.now_ns = NOW_NS
    return scene
