"""The container engine: blocking calls, safe from any thread, no daemon. It imports nothing here.

Where does X happen?
    `alpine` becomes docker.io/library/alpine:latest      oci/reference.py
    a 401 becomes a token                                  registry/tokens.py
    a mirror is found, a certificate is trusted            registry/hosts.py
    a login is kept                                        registry/keyring.py
    a blob comes in, is taken up, is waited for            registry/download.py
    a digest is checked                                    storage/content.py
    a whiteout is applied                                  storage/tar_apply.py
    layers become committed chains                         storage/unpack.py
    all bytes are on the disk before the row               storage/disk_sync.py
    what a container wrote is told, and becomes a tar      storage/upper.py, tar_diff.py
    a file is copied into a container, or out of it        services/tree_copy.py
    a tar becomes an image (commit, import)                storage/made_image.py
    images become one archive                              storage/archive_writer.py
    a raw layer becomes a gzip blob                        storage/deflate.py
    a blob goes up, is mounted, is taken up                registry/upload.py
    oci:, docker-archive:, docker:// become one another    services/copying.py
    a byte is called wasted, and why                       layers/merge.py
    an archive that nobody loaded is looked into           layers/source.py
    advice gets its bytes                                  layers/advisor/ledger.py
    an image fails in CI                                   layers/gate.py
    the overlay's lower directories are listed             storage/snapshots.py
    roots are made where overlayfs is refused              storage/driver.py
    docker's defaults become what run's flags ask for      runtime/confine.py, allot.py
    config.json is written                                 runtime/bundle.py
    namespaces, pivot_root, masked paths                   runtime/init.py
    a CPU limit is written                                 kernel/cgroup.py
    the seccomp profile is built                           runtime/seccomp_profile.py
    veth, address, route                                   network/endpoint.py
    -p 8080:80                                             network/ports.py
    exit code, log, attach                                 monitor/main.py
    a killed monitor gets a successor                      monitor/orphan.py
    a container starts again by itself                     services/restarts.py
    an engine error becomes an exit code                   cli/output.py
"""
