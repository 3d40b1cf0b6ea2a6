"""Whether a folder can hold a cache that nobody else reads or changes."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from ..values.errors import ConfigError

if sys.platform != "win32":
    import grp
    import pwd

DATABASE = "cache.db"
MOUNTS = "/proc/self/mountinfo"

NETWORK = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fhgfs",
        "fuse.beegfs",
        "fuse.blobfuse",
        "fuse.blobfuse2",
        "fuse.ceph",
        "fuse.cephfs",
        "fuse.curlftpfs",
        "fuse.davfs",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.geesefs",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.gvfsd-fuse",
        "fuse.hdfs",
        "fuse.juicefs",
        "fuse.lizardfs",
        "fuse.mfs",
        "fuse.moosefs",
        "fuse.mount-s3",
        "fuse.mountpoint-s3",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.seaweedfs",
        "fuse.smbnetfs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
    }
)
"""File systems on which SQLite's locks or its shared memory do not hold between machines."""


def checked(path: str | os.PathLike[str]) -> str:
    """The real path of the folder, which need not exist yet; nothing is created.

    Raises `ConfigError`, with the fix, where it cannot be used or others could change it.
    """
    text = os.path.expanduser(os.fspath(path))
    if text.startswith("~"):
        raise ConfigError(f"cache: {text!r}: there is no such user; name the folder in full")
    try:
        folder = os.path.realpath(text)
        nearest, found = _nearest(folder)
    except ValueError as error:
        raise ConfigError(f"cache: {text!r} is no path: {error}") from None
    except OSError as error:
        raise ConfigError(f"cache: {folder} cannot be looked at: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"cache: {nearest} is a file; name a folder")
    _refuse_network(folder)
    if sys.platform != "win32":
        _refuse_others(folder, nearest, found)
    _refuse_unwritable(folder, nearest)
    if nearest == folder:
        _refuse_used(folder)
    return folder


def _nearest(folder: str) -> tuple[str, os.stat_result]:
    """The folder, or the first above it that there is."""
    while True:
        try:
            return folder, os.stat(folder)
        except (FileNotFoundError, NotADirectoryError):
            above = os.path.dirname(folder)
            if above == folder:
                raise
            folder = above


def _refuse_network(folder: str) -> None:
    kind = _file_system(folder)
    if kind in NETWORK:
        raise ConfigError(
            f"cache: {folder} is on a network file system ({kind}), where SQLite's locks do not "
            f"hold and a cache would be damaged; name a folder on a local disk"
        )


def _file_system(folder: str) -> str | None:
    """The type of the file system that holds `folder`; None where the system does not say."""
    try:
        lines = Path(MOUNTS).read_bytes().decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = "", None
    for line in lines:
        front, _, back = line.partition(" - ")
        fields = front.split()
        if len(fields) < 5 or not back:
            continue
        point = _unescaped(fields[4])
        # The last of several at one place is the one on top.
        if _inside(folder, point) and len(point) >= len(best):
            best, kind = point, back.split()[0]
    return kind


def _inside(folder: str, point: str) -> bool:
    return folder == point or folder.startswith(point.rstrip("/") + "/")


def _unescaped(point: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, letter)
    return point


if sys.platform != "win32":

    def _refuse_others(folder: str, nearest: str, found: os.stat_result) -> None:
        if nearest == folder:
            _refuse_foreign(folder, found)
        above = found if nearest != folder else os.stat(os.path.dirname(folder))
        if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
            raise ConfigError(
                f"cache: {folder}: everybody may rename things in the folder above it, and so put "
                f"another one in its place; name another folder, or `chmod o-w` the one above"
            )

    def _refuse_foreign(folder: str, found: os.stat_result) -> None:
        if found.st_uid != os.geteuid():
            raise ConfigError(
                f"cache: {folder} belongs to another user ({_user(found.st_uid)}); "
                f"name a folder of your own"
            )
        others = found.st_mode & stat.S_IWOTH
        if others or (found.st_mode & stat.S_IWGRP and not _own_group(found)):
            raise ConfigError(
                f"cache: others may write to {folder}, and so put answers into your programs; "
                f"run `chmod 700 {folder}`"
            )

    def _own_group(found: os.stat_result) -> bool:
        """Whether nobody but the owner is in the group: many systems give each user one."""
        try:
            owner, group = pwd.getpwuid(found.st_uid), grp.getgrgid(found.st_gid)
        except KeyError:
            return False
        return owner.pw_name == group.gr_name and set(group.gr_mem) <= {owner.pw_name}

    def _user(uid: int) -> str:
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"uid {uid}"


def _refuse_unwritable(folder: str, nearest: str) -> None:
    if os.access(nearest, os.W_OK | os.X_OK):
        return
    if nearest == folder and os.access(os.path.join(folder, DATABASE), os.R_OK):
        return  # it can be read, as a cache that came with an image is
    raise ConfigError(
        f"cache: {folder} cannot be written, and there is no cache in it; "
        f"name a folder that you may write to"
    )


def _refuse_used(folder: str) -> None:
    """A folder that holds other things is not given files of ours, nor a mode."""
    names = os.listdir(folder) if os.access(folder, os.R_OK) else []
    if names and not any(name == "lock" or name.startswith(DATABASE) for name in names):
        raise ConfigError(
            f"cache: {folder} holds other things ({min(names)}, ...); name a folder of its own"
        )


def identity(path: str) -> tuple[int, int] | None:
    """(device, inode) of a file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
