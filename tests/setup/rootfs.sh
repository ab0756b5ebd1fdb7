#!/bin/sh
# Makes the file tree of the benchmarks from Debian's own packages, about 190 MB, and prints it: minbase, systemd, udev,
# e2fsprogs and what they recommend, for arm64.
#
# apt itself resolves the dependencies, against an empty status file; dpkg-deb unpacks, so nothing of it runs and neither
# root nor a foreign-architecture emulator is needed. Cached; with it there, needs no network.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}
suite=trixie arch=arm64
tree=$cache/debian/$suite-$arch/rootfs
[ ! -d "$tree" ] || {
    echo "$tree"
    exit 0
}

fail() {
    echo "rootfs.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

apt=$("$setup/debian.sh" "$suite" "$arch")
export APT_CONFIG="$apt/apt.conf"
part=$tree.part
rm -rf "$part"
mkdir -p "$part" "$apt/archives/partial"
echo "fetching a Debian tree ($suite, $arch: minbase and systemd)" >&2
# What debootstrap calls minbase: everything essential or required, and apt.
apt-get -qq --install-recommends --download-only -y install '?essential' '?priority(required)' apt systemd systemd-sysv udev e2fsprogs >&2 ||
    fail "cannot fetch the packages of the Debian tree" "remove $apt to read the package lists again"
# base-files first: it brings the links from /bin, /lib and /sbin into /usr that all others are unpacked through.
for package in "$apt"/archives/base-files_*.deb "$apt"/archives/*.deb; do
    dpkg-deb -x "$package" "$part" || fail "cannot unpack $package" "remove it to fetch it again"
done
rm -rf "$apt/archives"
mkdir -p "$apt/archives/partial"
mv "$part" "$tree"
echo "$tree"
