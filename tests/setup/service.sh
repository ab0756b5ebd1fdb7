#!/bin/sh
# Makes what the test of mode `service` boots: Debian 13 for arm64 with dracut, LVM and cryptsetup, for its own kernel. Prints
# the folder:
#
#   root.ext4      a root file system with systemd, which marks that it runs
#   content.cpio   dracut's initramfs for LVM on LUKS: the content
#   mini.cpio      the same with the module `initoverlayfs`, plan and bootstrap still empty
#   busybox        for who makes the disk
#
#   service.sh KERNEL MODULES     the kernel that dracut runs on, and the folder of modules that it is for
#
# Packages are unpacked, not installed: dracut wants files, and systemd in the root file system no more. dracut runs in QEMU:
# neither root nor an emulator of foreign programs is needed on this machine. Some minutes, once; cached under the digest of these
# scripts, of the module and of both kernels. With it there, needs no network.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}
module=$here/imagegen/distribution/dracut/90initoverlayfs
kernel=$1 modules=$2
suite=trixie arch=arm64
digest=$({ cat "$setup/service.sh" "$setup/service-guest.sh" "$module"/* "$kernel"; echo "${modules##*/}"; } | sha256sum | cut -c1-12)
folder=$cache/service/$suite-$arch-$digest
[ ! -d "$folder" ] || {
    echo "$folder"
    exit 0
}

fail() {
    echo "service.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

PATH=$PATH:/usr/sbin:/sbin
for tool in mkfs.ext4 debugfs qemu-system-aarch64; do
    command -v "$tool" > /dev/null || fail "$tool is missing" "run tests/setup/apt.sh test"
done
apt=$("$setup/debian.sh" "$suite" "$arch")
export APT_CONFIG="$apt/apt.conf"
packages=$cache/service/packages
if [ ! -e "$packages/.complete" ]; then
    echo "fetching Debian ($suite, $arch) with systemd, dracut, LVM and cryptsetup" >&2
    rm -rf "$packages" && mkdir -p "$packages/partial"
    apt-get -qq --no-install-recommends --download-only -y -o "Dir::Cache::archives=$packages" install \
        '?essential' '?priority(required)' systemd systemd-sysv systemd-cryptsetup udev kmod e2fsprogs dracut cryptsetup-bin \
        dmsetup lvm2 busybox-static >&2 ||
        fail "cannot fetch the packages" "remove $apt to read the package lists again"
    rm -rf "$packages/partial" "$packages/lock"
    touch "$packages/.complete"
fi

part=$folder.part
rm -rf "$part" && mkdir -p "$part/tree" "$part/root" "$part/disk/modules"
unpack() { dpkg-deb -x "$1" "$2" || fail "cannot unpack $1" "remove $packages to fetch the packages again"; }
# For dracut everything, and for the root file system systemd and what it is linked with. What maintainer scripts would have
# made is made here, as far as they need it.
for package in "$packages"/base-files_*.deb "$packages"/*.deb; do unpack "$package" "$part/tree"; done
for name in base-files busybox-static libacl1 libapparmor1 libattr1 libaudit1 libblkid1 libc6 libcap-ng0 libcap2 libcrypt1 libgcc-s1 \
    libkmod2 liblz4-1 liblzma5 libmount1 libpam0g libpcre2-8-0 libseccomp2 libselinux1 libsmartcols1 libssl3t64 libsystemd-shared \
    libsystemd0 libtinfo6 libudev1 libuuid1 libxxhash0 libzstd1 mount systemd systemd-sysv util-linux zlib1g; do
    unpack "$(echo "$packages/${name}"_*.deb)" "$part/root"
done
for tree in "$part/tree" "$part/root"; do
    cp "$part/tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
    cp "$part/tree/usr/share/base-passwd/group.master" "$tree/etc/group"
    echo 0123456789abcdef0123456789abcdef > "$tree/etc/machine-id"
done
cp "$part/tree/usr/bin/busybox" "$part/busybox"
ln -sf mawk "$part/tree/usr/bin/awk"
cp -r "$module" "$part/tree/usr/lib/dracut/modules.d/"
install -m 755 "$setup/service-guest.sh" "$part/tree/service-guest.sh"
cp -r "$modules" "$part/disk/modules/"
rm -rf "$part/root/usr/share" "$part/root/usr/lib/aarch64-linux-gnu/gconv" "$part/root/usr/lib/udev/hwdb.d"
cat > "$part/root/etc/systemd/system/mark.service" << 'UNIT'
[Unit]
Description=Mark that the root file system's own systemd runs, and switch off
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=busybox ls -l /run/initoverlayfs
ExecStart=busybox sh -c 'echo "mark: root $$(findmnt -no SOURCE,FSTYPE /)"'
ExecStart=systemctl --force --force poweroff
UNIT
printf '[Unit]\nDescription=Nothing but the mark\nDefaultDependencies=no\nRequires=mark.service\nAllowIsolate=yes\n' \
    > "$part/root/etc/systemd/system/mark.target"
ln -s mark.target "$part/root/etc/systemd/system/default.target"
as_root=
[ "$(id -u)" = 0 ] || as_root=fakeroot
# Blocks of 4096 bytes: LUKS2 makes its sectors as large.
# shellcheck disable=SC2016
$as_root sh -e -c 'chown -R 0:0 "$1/tree" "$1/root" && mknod -m 600 "$1/tree/dev/console" c 5 1 &&
    mkfs.ext4 -q -F -d "$1/tree" "$1/tree.ext4" 768M && mkfs.ext4 -q -F -d "$1/disk" "$1/disk.ext4" 512M &&
    mkfs.ext4 -q -F -b 4096 -L root -d "$1/root" "$1/root.ext4" 96M' sh "$part" >&2
rm -rf "$part/tree" "$part/root" "$part/disk"
echo "running Debian's dracut in QEMU (some minutes, once; log $part/log)" >&2
# Linux finds memory-mapped devices from the last to the first: the tree is vda.
timeout 3600 qemu-system-aarch64 -nodefaults -no-user-config -no-reboot -display none -machine virt -cpu cortex-a72 -m 2048 -smp 2 \
    -accel tcg,thread=multi \
    -kernel "$kernel" -append "console=ttyAMA0 root=/dev/vda rw init=/service-guest.sh panic=-1" -serial "file:$part/log" \
    -drive "if=none,id=out,format=raw,cache=unsafe,file=$part/disk.ext4" -device virtio-blk-device,drive=out \
    -drive "if=none,id=tree,format=raw,cache=unsafe,file=$part/tree.ext4" -device virtio-blk-device,drive=tree ||
    fail "QEMU failed" "its console is in $part/log"
for file in content.cpio mini.cpio done; do
    debugfs -R "dump /$file $part/$file" "$part/disk.ext4" > /dev/null 2>&1 && [ -e "$part/$file" ] ||
        fail "dracut did not end" "its console is in $part/log"
done
rm "$part/tree.ext4"
rm "$part/disk.ext4" "$part/done"
mv "$part" "$folder"
echo "$folder"
