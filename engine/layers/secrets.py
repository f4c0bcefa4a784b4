"""Files that should not be in an image that others get, by their names.

A file that a later layer removes can still be taken out of the image, so hidden ones count too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.layers.files import Files
from engine.model.analysis import Special
from engine.model.layer import FILE

# By the last name alone, which is what most paths fail by; some also by the directory.
_NAME = re.compile(
    rb"""\.env(?:\.(?!example$|sample$|template$|dist$)[^/]+)?
        | id_(?:rsa|dsa|ecdsa|ed25519) | \.htpasswd
        | .+\.(?:pem|key|p12|pfx|jks|keystore|ovpn|kdbx)
        | \.npmrc | \.pypirc | \.netrc | \.git-credentials | \.pgpass | \.my\.cnf
        | credentials | config | config\.json | credentials\.db
        | application_default_credentials\.json | terraform\.tfstate""",
    re.VERBOSE | re.DOTALL,
)
_PLACED = {b"credentials", b"config", b"config.json", b"credentials.db",
           b"application_default_credentials.json"}  # fmt: skip
_PLACES = re.compile(
    rb"(?:.*/)?(?:\.aws/credentials|\.docker/config\.json|\.kube/config|\.config/gcloud/"
    rb"(?:credentials\.db|application_default_credentials\.json))",
    re.DOTALL,
)
# Certificates and test data that distributions and libraries bring.
_PUBLIC = re.compile(
    rb"""(?:etc/(?:ssl|pki|ca-certificates)|usr/(?:local/)?share/(?:ca-certificates|doc|pki)
        |usr/lib/ssl|usr/lib/python[^/]*)/ | .*/(?:site|dist)-packages/
        | .*/node_modules/ | .*/(?:testdata|tests?|examples?)/ | (?:.*/)?(?:ca|cacert|ca-bundle|
        roots?)\.pem$""",
    re.VERBOSE,
)


def find_secrets(files: Files) -> Iterator[Special]:
    """What looks like a secret, by path; empty files do not."""
    merged, fits = files.merged, _NAME.fullmatch
    for node, name in enumerate(merged.names):
        if not fits(name):
            continue
        path = merged.keys[node][1:].replace(b"\0", b"/")
        if _PUBLIC.match(path) or (name in _PLACED and not _PLACES.fullmatch(path)):
            continue
        for layer, row in merged.rows_of(node):
            index = files.indexes[layer]
            size = index.size[row]
            if size and index.kind[row] == FILE:
                gone = merged.entry_of(node) != (layer, row)
                text = path.decode("utf-8", "surrogateescape")
                yield Special("secret", text, layer, size, gone)
