#!/bin/sh
# Makes what `make bench-peers` boots: Debian 13 for arm64 with systemd, installed as debootstrap would, and the initramfs that
# its own dracut makes. Prints the folder:
#
#   root.ext4     the root file system
#   dracut.cpio   dracut's initramfs, uncompressed: the content of every peer
#   squash.cpio   dracut's initramfs in its erofs mode
#   busybox       for the initramfs that mounts an image by a shell
#
#   peers.sh KERNEL GUEST     the kernel that runs the installation, and the program that becomes /init of the content
#
# Maintainer scripts and dracut run in QEMU, on that kernel: neither root nor an emulator of foreign programs is needed on
# this machine. About five minutes, once; cached under the digest of these scripts, the kernel and the program. With it there,
# needs no network.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}
kernel=$1 guest=$2
suite=trixie arch=arm64
digest=$(cat "$setup/peers.sh" "$setup/peers-install.sh" "$kernel" "$guest" | sha256sum | cut -c1-12)
folder=$cache/peers/$suite-$arch-$digest
[ ! -d "$folder" ] || {
    echo "$folder"
    exit 0
}

fail() {
    echo "peers.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

PATH=$PATH:/usr/sbin:/sbin
for tool in mkfs.ext4 e2fsck debugfs qemu-system-aarch64; do
    command -v "$tool" > /dev/null || fail "$tool is missing" "run tests/setup/apt.sh bench"
done
apt=$("$setup/debian.sh" "$suite" "$arch")
export APT_CONFIG="$apt/apt.conf"
packages=$cache/peers/packages
if [ ! -e "$packages/.complete" ]; then
    echo "fetching Debian ($suite, $arch) with systemd and dracut" >&2
    rm -rf "$packages" && mkdir -p "$packages/partial"
    # What debootstrap calls minbase, an init, and dracut with what its erofs mode and its own recommendations ask for.
    apt-get -qq --no-install-recommends --download-only -y -o "Dir::Cache::archives=$packages" install \
        '?essential' '?priority(required)' apt systemd systemd-sysv udev dbus kmod e2fsprogs libpam-systemd \
        dracut dracut-squash erofs-utils busybox-static zstd >&2 ||
        fail "cannot fetch the packages" "remove $apt to read the package lists again"
    rm -rf "$packages/partial" "$packages/lock"
    touch "$packages/.complete"
fi

part=$folder.part
rm -rf "$part" && mkdir -p "$part/tree"
for package in "$packages"/base-files_*.deb "$packages"/*.deb; do
    dpkg-deb -x "$package" "$part/tree" || fail "cannot unpack $package" "remove $packages to fetch the packages again"
done
mkdir -p "$part/disk/packages"
cp "$packages"/*.deb "$part/disk/packages/"
cp "$guest" "$part/disk/guest"
cp "$part/tree/usr/bin/busybox" "$part/busybox"
install -m 755 "$setup/peers-install.sh" "$part/tree/peers-install.sh"
as_root=
[ "$(id -u)" = 0 ] || as_root=fakeroot
# shellcheck disable=SC2016
$as_root sh -e -c 'chown -R 0:0 "$1" && mknod -m 600 "$1/dev/console" c 5 1 && mkfs.ext4 -q -F -L root -d "$1" "$2" 768M &&
    mkfs.ext4 -q -F -d "$3" "$4" 320M' sh "$part/tree" "$part/root.ext4" "$part/disk" "$part/disk.ext4" >&2
rm -rf "$part/tree" "$part/disk"
# Linux finds memory-mapped devices from the last to the first: the root is vda.
echo "installing Debian and running its dracut in QEMU (about ten minutes, once; log $part/log)" >&2
timeout 7200 qemu-system-aarch64 -nodefaults -no-user-config -no-reboot -display none -machine virt -cpu cortex-a72 -m 2048 \
    -kernel "$kernel" -append "console=ttyAMA0 root=/dev/vda rw init=/peers-install.sh panic=-1" -serial "file:$part/log" \
    -drive "if=none,id=packages,format=raw,cache=unsafe,file=$part/disk.ext4" -device virtio-blk-device,drive=packages \
    -drive "if=none,id=root,format=raw,cache=unsafe,file=$part/root.ext4" -device virtio-blk-device,drive=root ||
    fail "QEMU failed" "its console is in $part/log"
for file in dracut.cpio squash.cpio versions done; do
    debugfs -R "dump /$file $part/$file" "$part/disk.ext4" > /dev/null 2>&1 && [ -e "$part/$file" ] ||
        fail "the installation did not end" "its console is in $part/log"
done
# Files that were replaced while they ran are still to be freed, which a mount would do at every boot.
e2fsck -fy "$part/root.ext4" > /dev/null 2>&1 || [ $? -le 1 ] || fail "the root file system is damaged" "try again"
rm "$part/disk.ext4" "$part/done"
mv "$part" "$folder"
echo "$folder"
