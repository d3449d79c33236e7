"""Which file system a path is on, and whether that is another machine's.

SQLite's write-ahead log needs memory that all its processes share, and locks that hold; over a network there is neither,
and the database is damaged at once or, worse, some day.
"""

from __future__ import annotations

import os
import re
from pathlib import Path


__all__ = ["network_file_system"]

#: The mounts as this process sees them; only Linux has it.
TABLE = "/proc/self/mountinfo"

_NETWORK = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncp",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "vmhgfs", "webdav",
})  # fmt: skip

#: What follows ``fuse.``; other FUSE file systems (gocryptfs, mergerfs, …) are on this machine's own disks.
_NETWORK_FUSE = frozenset({
    "afp", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "cephfs", "curlftpfs", "davfs", "davfs2", "gcsfuse", "glusterfs", "goofys",
    "google-drive-ocamlfuse", "grpcfuse", "gvfsd-fuse", "httpdirfs", "hubicfuse", "jmtpfs", "juicefs", "mfs", "moosefs", "mount-s3",
    "mountpoint-s3", "onedriver", "osxfs", "rclone", "s3fs", "s3ql", "seaweedfs", "smbnetfs", "sshfs", "vmhgfs-fuse", "weed",
})  # fmt: skip


def network_file_system(path: str, table: str | None = None) -> str | None:
    """The type of the network file system that a path is on; None if it is on none, or if that cannot be told.

    Args:
        path: A path, which need not exist yet.
        table: Where the mounts are listed, as Linux lists them; None for this process's own.
    """
    try:
        lines = Path(table or TABLE).read_bytes().splitlines()
    except OSError:
        return None
    real = os.fsencode(os.path.realpath(path))
    longest, found = -1, ""
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        mounted, kind = _unescaped(fields.split()[4]), rest.split()[0].decode("ascii", "replace")
        # A later mount on the same place hides the earlier one.
        if _is_under(real, mounted) and len(mounted) >= longest:
            longest, found = len(mounted), kind
    return found if _is_network(found) else None


def _is_network(kind: str) -> bool:
    return kind in _NETWORK or (kind.startswith("fuse.") and kind[5:] in _NETWORK_FUSE)


def _is_under(path: bytes, mounted: bytes) -> bool:
    return path == mounted or path.startswith(mounted.rstrip(b"/") + b"/")


def _unescaped(field: bytes) -> bytes:
    """Spaces, tabs, newlines and backslashes are written as three octal digits."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)
