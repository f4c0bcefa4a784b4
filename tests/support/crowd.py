"""A store with very many images, made without unpacking any: rows, and small files behind them."""

import hashlib
import json
import os

from engine.oci.digest import DiffID, chain_ids
from tests.support.store import Store


def fill(store: Store, images: int, layers: int, *, shared: int = 2) -> None:
    """So many images of so many layers, the lowest `shared` of them in all; image n is called
    app:n. Every layer is a directory with an index beside it, every blob a file."""
    root = store.home.root
    rows: dict[str, list[tuple[object, ...]]] = {
        name: []
        for name in ("blob", "layer", "chain", "image", "image_blob", "reference", "origin")
    }
    known: set[str] = set()
    for number in range(images):
        chosen = [
            f"base {depth}" if depth < shared else f"{number} {depth}" for depth in range(layers)
        ]
        diff_ids = [DiffID(_digest(f"diff {each}")) for each in chosen]
        chains = chain_ids(diff_ids)
        blobs = []
        for depth, each in enumerate(chosen):
            blob = _digest(f"blob {each}")
            blobs.append(blob)
            if each in known:
                continue
            known.add(each)
            identity = hashlib.sha256(each.encode()).hexdigest()[:26]
            link = len(known)
            os.makedirs(f"{root}/layers/{identity}/diff")
            os.symlink(f"../layers/{identity}/diff", f"{root}/l/{link}")
            _write(f"{root}/layers/{identity}/layer.pdl", b"x")
            _write(store.home.blob_path(blob), each.encode())
            rows["blob"].append((blob, len(each), "application/gzip", 1))
            rows["layer"].append((identity, link, diff_ids[depth], None, blob, 5000, 8192, 3, 1))
            rows["chain"].append(
                (chains[depth], chains[depth - 1] if depth else None, identity, depth + 1)
            )
        documents = []
        config = {
            "architecture": "amd64", "os": "linux", "config": {"Labels": {"n": str(number)}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }  # fmt: skip
        for data in (json.dumps(config).encode(), f"manifest {number}".encode()):
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            documents.append(digest)
            _write(store.home.blob_path(digest), data)
            rows["blob"].append((digest, len(data), "application/json", 1))
        image, manifest = documents
        rows["image"].append(
            (image, manifest, None, chains[-1], "linux", "amd64", "", number, 5000 * layers, 0,
             layers)
        )  # fmt: skip
        rows["image_blob"] += ((image, digest) for digest in dict.fromkeys(documents + blobs))
        rows["origin"] += ((digest, "docker.io", "library/app") for digest in blobs[shared:])
        rows["reference"].append((f"docker.io/library/app:{number}", image, manifest, 1))
    with store.database.transaction() as cursor:
        for table, values in rows.items():
            marks = ",".join("?" * len(values[0]))
            cursor.executemany(f"INSERT INTO {table} VALUES({marks})", values)


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
