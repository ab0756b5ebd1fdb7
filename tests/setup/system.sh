#!/bin/sh
# Makes the systems that `make debian` upgrades: Debian 13, installed as debootstrap would, with a kernel, GRUB's menu and the
# initramfs that the distribution's own tool has made. Prints the folder:
#
#   root.ext4     the root file system
#   boot.ext4     that of /boot
#   packages/     the kernel that comes next
#
#   system.sh initramfs-tools|dracut arm64|amd64 KERNEL [INITRAMFS]
#
# KERNEL runs the installation: of that architecture, with its drivers built in (arm64), or with INITRAMFS, which loads them and goes
# on to /system-install.sh on /dev/vda (amd64). Maintainer scripts run in QEMU, on that kernel: neither root nor an emulator of foreign
# programs is needed on this machine. About five minutes, once, and three for the second tool; cached under the digest of these
# scripts. With it there, needs no network.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}/system
generator=$1 arch=$2 kernel=$3 initramfs=${4:-}
suite=trixie
digest=$(cat "$setup/system.sh" "$setup/system-install.sh" | sha256sum | cut -c1-12)
folder=$cache/$generator-$suite-$arch-$digest
[ ! -d "$folder" ] || {
    echo "$folder"
    exit 0
}

fail() {
    echo "system.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

# What is said in front of root= the installed system keeps. Without no_timer_check a busy host makes the kernel panic.
case $arch in
    arm64) qemu="qemu-system-aarch64 -machine virt -cpu cortex-a72" bus=device arguments=console=ttyAMA0 ;;
    amd64) qemu="qemu-system-x86_64 -machine q35 -cpu qemu64,-cx16" bus=pci arguments="console=ttyS0 no_timer_check" ;;
    *) fail "no machine for $arch" "arm64 or amd64" ;;
esac
PATH=$PATH:/usr/sbin:/sbin
for tool in mkfs.ext4 e2fsck debugfs "${qemu%% *}"; do
    command -v "$tool" > /dev/null || fail "$tool is missing" "run tests/setup/apt.sh test"
done
apt=$("$setup/debian.sh" "$suite" "$arch")
export APT_CONFIG="$apt/apt.conf"
# The last two kernels of the suite, in its smallest flavour: an upgrade that Debian has made.
kernels=$(apt-cache pkgnames linux-image-6.12 | grep -E "^linux-image-6\.12\.[0-9]+\+deb13-cloud-$arch\$" | sort -V | tail -n 2)
[ "$(echo "$kernels" | wc -l)" = 2 ] || fail "$suite has not two kernels" "remove $apt to read the package lists again"
old=$(echo "$kernels" | head -n 1) new=$(echo "$kernels" | tail -n 1)

# packages NAME PACKAGE...: what installing them takes, into the folder NAME.
packages() {
    to=$cache/$1-$arch
    shift
    [ ! -e "$to/.complete" ] || return 0
    echo "fetching $* ($suite, $arch)" >&2
    rm -rf "$to" && mkdir -p "$to/partial"
    apt-get -qq --no-install-recommends --download-only -y -o "Dir::Cache::archives=$to" install "$@" >&2 ||
        fail "cannot fetch the packages" "remove $apt to read the package lists again"
    rm -rf "$to/partial" "$to/lock"
    touch "$to/.complete"
}
# What debootstrap calls minbase, an init, GRUB, and what our package depends on.
packages base '?essential' '?priority(required)' apt systemd systemd-sysv udev dbus kmod e2fsprogs "grub-efi-$arch" erofs-utils \
    cpio zstd linux-base
packages "$generator-and-kernels" "$generator" busybox "$old" "$new"

# machine ROOT BOOT PACKAGES LOG
machine() {
    root=$1 boot=$2 packages=$3 log=$4
    # Linux finds devices on PCI in their order, memory-mapped ones from the last to the first: the root is vda.
    set -- "$root" "$boot" "$packages"
    [ "$bus" = pci ] || set -- "$packages" "$boot" "$root"
    # shellcheck disable=SC2086
    timeout 7200 $qemu -nodefaults -no-user-config -no-reboot -display none -m 2048 -smp 2 -accel tcg,thread=multi \
        -kernel "$kernel" ${initramfs:+-initrd "$initramfs"} -serial "file:$log" \
        -append "$arguments root=/dev/vda rw init=/system-install.sh panic=-1" \
        -drive "if=none,id=first,format=raw,cache=unsafe,file=$1" -device virtio-blk-$bus,drive=first \
        -drive "if=none,id=second,format=raw,cache=unsafe,file=$2" -device virtio-blk-$bus,drive=second \
        -drive "if=none,id=third,format=raw,cache=unsafe,file=$3" -device virtio-blk-$bus,drive=third ||
        fail "QEMU failed" "its console is in $log"
    debugfs -R "dump /done $packages.done" "$packages" > /dev/null 2>&1 && [ -e "$packages.done" ] ||
        fail "the installation did not end" "its console is in $log"
    for image in "$root" "$boot"; do
        e2fsck -fy "$image" > /dev/null 2>&1 || [ $? -le 1 ] || fail "$image is damaged" "try again"
    done
}

# disk FOLDER IMAGE: an ext4 of what lies in the folder.
disk() { mkfs.ext4 -q -F -d "$1" "$2" 320M >&2; }

base=$cache/base-$suite-$arch-$digest
if [ ! -d "$base" ]; then
    part=$base.part
    rm -rf "$part" && mkdir -p "$part/tree" "$part/disk/packages"
    for package in "$cache/base-$arch"/base-files_*.deb "$cache/base-$arch"/*.deb; do
        dpkg-deb -x "$package" "$part/tree" || fail "cannot unpack $package" "remove $cache/base-$arch to fetch the packages again"
    done
    cp "$cache/base-$arch"/*.deb "$part/disk/packages/"
    install -m 755 "$setup/system-install.sh" "$part/tree/system-install.sh"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=fakeroot
    # shellcheck disable=SC2016
    $as_root sh -e -c 'chown -R 0:0 "$1" && mknod -m 600 "$1/dev/console" c 5 1 &&
        mkfs.ext4 -q -F -L root -U 00000000-0000-4000-8000-000000000001 -d "$1" "$2" 1200M' sh "$part/tree" "$part/root.ext4" >&2
    mkfs.ext4 -q -F -L boot -U 00000000-0000-4000-8000-000000000002 "$part/boot.ext4" 400M >&2
    disk "$part/disk" "$part/disk.ext4"
    rm -rf "$part/tree" "$part/disk"
    echo "installing Debian in QEMU (about five minutes, once; log $part/log)" >&2
    machine "$part/root.ext4" "$part/boot.ext4" "$part/disk.ext4" "$part/log"
    rm "$part"/disk.ext4*
    mv "$part" "$base"
fi
part=$folder.part
rm -rf "$part" && mkdir -p "$part/disk/packages" "$part/packages"
cp --sparse=always "$base/root.ext4" "$base/boot.ext4" "$part/"
cp "$cache/$generator-and-kernels-$arch"/*.deb "$part/disk/packages/"
mv "$part/disk/packages/${new}_"*.deb "$part/packages/"
for package in "$cache/base-$arch"/*.deb; do rm -f "$part/disk/packages/${package##*/}"; done
disk "$part/disk" "$part/disk.ext4"
rm -rf "$part/disk"
echo "installing $generator and a kernel in QEMU (about three minutes, once; log $part/log)" >&2
machine "$part/root.ext4" "$part/boot.ext4" "$part/disk.ext4" "$part/log"
rm "$part"/disk.ext4*
mv "$part" "$folder"
echo "$folder"
