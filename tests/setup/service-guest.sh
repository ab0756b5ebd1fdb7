#!/bin/sh
# Runs as the only process of a virtual machine that tests/setup/service.sh starts, on a tree of unpacked packages: dracut, once
# for the content and once for the initramfs that mounts it. The modules lie on the second disk, and what dracut makes goes there,
# with `done` as the last file.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for folder in /run /tmp /var/tmp; do mount -t tmpfs tmp $folder; done
ln -s /proc/self/fd /dev/fd
mkdir -p /mnt
mount -t ext4 /dev/vdb /mnt
trap 'echo "service-guest: failed"; sync; echo o > /proc/sysrq-trigger; while :; do sleep 60; done' EXIT
ldconfig
mkdir -p /usr/lib/modules
mount --bind /mnt/modules /usr/lib/modules
release=$(ls /usr/lib/modules)

# All that LVM on LUKS needs, and of the drivers only this machine's: not hostonly, because this is not the host.
dracut="dracut --force --no-hostonly --no-hostonly-cmdline --no-compress --kver $release --add lvm --add crypt --add systemd-cryptsetup"
omit="kernel-modules kernel-modules-extra qemu nvdimm lunmask resume virtfs virtiofs hwdb"
drivers="virtio_blk virtio_mmio virtio_pci ext4 dm_crypt dm_mod"
$dracut --omit "$omit" --add-drivers "$drivers" /mnt/content.cpio
mkdir -p /var/lib/initoverlayfs/service
: > /var/lib/initoverlayfs/service/plan
: > /var/lib/initoverlayfs/service/bootstrap
$dracut --omit "$omit" --add-drivers "$drivers" --add initoverlayfs /mnt/mini.cpio
touch /mnt/done
# The same file system twice: what is only in its journal is not read outside.
umount /usr/lib/modules
umount /mnt
trap - EXIT
echo "service-guest: done"
echo o > /proc/sysrq-trigger
while :; do sleep 60; done
