from __future__ import annotations

from pathlib import Path

import pytest

from resilience.stores._mounts import network_file_system


def kind_of(path: str, tmp_path: Path, *mounts: str) -> str | None:
    table = tmp_path / "mountinfo"
    lines = [
        f"{number} 1 0:{number} / {mount.split()[0]} rw master:1 - {mount.split()[1]} dev rw"
        for number, mount in enumerate(mounts)
    ]
    table.write_text("\n".join(lines) + "\n")
    return network_file_system(path, str(table))


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs"],
)
def test_another_machines_file_systems_are_named(kind: str, tmp_path: Path) -> None:
    assert kind_of("/far/a/b.db", tmp_path, "/ ext4", f"/far {kind}") == kind


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", "fuse.gocryptfs", "fuse.mergerfs"]
)
def test_this_machines_own_are_not(kind: str, tmp_path: Path) -> None:
    assert kind_of("/near/b.db", tmp_path, "/ nfs", f"/near {kind}") is None


def test_the_innermost_mount_counts_and_of_two_on_one_place_the_later(tmp_path: Path) -> None:
    mounts = ["/ ext4", "/far nfs", "/far/near ext4", "/farther xfs"]
    assert kind_of("/far/b.db", tmp_path, *mounts) == "nfs"
    assert kind_of("/far/near/b.db", tmp_path, *mounts) is None
    assert kind_of("/far", tmp_path, *mounts) == "nfs"
    assert kind_of("/farther/b.db", tmp_path, *mounts) is None
    assert kind_of("/far/b.db", tmp_path, *mounts, "/far tmpfs") is None


def test_spaces_in_the_names_of_mounts_are_understood(tmp_path: Path) -> None:
    assert kind_of("/my files/b.db", tmp_path, "/ ext4", r"/my\040files nfs") == "nfs"


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert kind_of(f"{tmp_path}/near/b.db", tmp_path, "/ ext4", f"{tmp_path}/far nfs") == "nfs"


def test_where_mounts_are_not_listed_nothing_is_known(tmp_path: Path) -> None:
    assert network_file_system("/far/b.db", str(tmp_path / "none")) is None


def test_this_machines_temporary_folder_is_its_own(tmp_path: Path) -> None:
    assert network_file_system(str(tmp_path / "b.db")) is None
