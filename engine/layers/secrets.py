"""Files that should not be in an image that others get, by their names.

A file that a later layer removes can still be taken out of the image, so hidden ones count too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.layers.files import Files
from engine.model.analysis import Special

_SECRET = re.compile(
    rb"""(?:.*/)?(?:
        \.env(?:\.(?!example$|sample$|template$|dist$)[^/]+)?
        | id_(?:rsa|dsa|ecdsa|ed25519) | \.htpasswd
        | [^/]+\.(?:pem|key|p12|pfx|jks|keystore|ovpn|kdbx)
        | \.npmrc | \.pypirc | \.netrc | \.git-credentials | \.pgpass | \.my\.cnf
        | \.aws/credentials | \.docker/config\.json | \.kube/config
        | \.config/gcloud/(?:credentials\.db|application_default_credentials\.json)
        | terraform\.tfstate
    )""",
    re.VERBOSE,
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
    seen: set[tuple[bytes, int]] = set()
    for path, layer, row, gone in files.all_files():
        if not _SECRET.fullmatch(path) or _PUBLIC.match(path) or (path, layer) in seen:
            continue
        size = files.indexes[layer].size[row]
        if size:
            seen.add((path, layer))
            yield Special("secret", path.decode("utf-8", "surrogateescape"), layer, size, gone)
