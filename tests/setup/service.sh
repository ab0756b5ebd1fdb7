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
rm -rf "$part" && mkdir -p "$part/tree" "$part/disk"
for package in "$packages"/base-files_*.deb "$packages"/*.deb; do
    dpkg-deb -x "$package" "$part/tree" || fail "cannot unpack $package" "remove $packages to fetch the packages again"
done
tree=$part/tree
cp "$tree/usr/bin/busybox" "$part/busybox"
# What maintainer scripts would have made of what dracut and systemd need.
cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group"
ln -sf mawk "$tree/usr/bin/awk"
echo 0123456789abcdef0123456789abcdef > "$tree/etc/machine-id"
echo service > "$tree/etc/hostname"
rm -rf "$tree/usr/share/doc" "$tree/usr/share/man" "$tree/usr/share/locale" "$tree/usr/share/i18n"
# The mark of the root file system's own systemd.
cat > "$tree/etc/systemd/system/mark.service" << 'UNIT'
[Unit]
Description=Mark that the root file system's systemd runs
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=tty
TTYPath=/dev/console
ExecStart=busybox sh -c 'echo; echo "mark: root is $(findmnt -no SOURCE,FSTYPE /)"; cat /proc/sys/kernel/random/boot_id; ls -la /run/initoverlayfs'
ExecStart=systemctl --no-block --force --force poweroff
UNIT
cat > "$tree/etc/systemd/system/mark.target" << 'UNIT'
[Unit]
Description=Nothing but the mark
DefaultDependencies=no
Requires=mark.service
AllowIsolate=yes
UNIT
ln -sf mark.target "$tree/etc/systemd/system/default.target"
# The root file system needs no dracut, and no modules beyond those that are loaded by then.
cp -r "$module" "$tree/usr/lib/dracut/modules.d/"
install -m 755 "$setup/service-guest.sh" "$tree/service-guest.sh"
mkdir -p "$part/disk/modules"
cp -r "$modules" "$part/disk/modules/"
echo "${modules##*/}" > "$part/disk/release"
as_root=
[ "$(id -u)" = 0 ] || as_root=fakeroot
# shellcheck disable=SC2016
$as_root sh -e -c 'chown -R 0:0 "$1" && mknod -m 600 "$1/dev/console" c 5 1 && mkfs.ext4 -q -F -L root -d "$1" "$2" 640M &&
    mkfs.ext4 -q -F -d "$3" "$4" 640M' sh "$tree" "$part/root.ext4" "$part/disk" "$part/disk.ext4"
rm -rf "$tree" "$part/disk"
echo "running Debian's dracut in QEMU (some minutes, once; log $part/log)" >&2
# Linux finds memory-mapped devices from the last to the first: the root is vda. Its own copy: what is written there is not wanted.
timeout 3600 qemu-system-aarch64 -nodefaults -no-user-config -no-reboot -display none -machine virt -cpu cortex-a72 -m 2048 -smp 2 \
    -accel tcg,thread=multi \
    -kernel "$kernel" -append "console=ttyAMA0 root=/dev/vda rw init=/service-guest.sh panic=-1" -serial "file:$part/log" \
    -drive "if=none,id=out,format=raw,cache=unsafe,file=$part/disk.ext4" -device virtio-blk-device,drive=out \
    -drive "if=none,id=root,format=raw,cache=unsafe,snapshot=on,file=$part/root.ext4" -device virtio-blk-device,drive=root ||
    fail "QEMU failed" "its console is in $part/log"
for file in content.cpio mini.cpio done; do
    debugfs -R "dump /$file $part/$file" "$part/disk.ext4" > /dev/null 2>&1 && [ -e "$part/$file" ] ||
        fail "dracut did not end" "its console is in $part/log"
done
rm "$part/disk.ext4" "$part/done"
mv "$part" "$folder"
echo "$folder"
