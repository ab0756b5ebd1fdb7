#!/bin/sh
# Runs as the only process of a virtual machine that tests/setup/peers.sh starts, on a tree that was unpacked but never
# installed: what debootstrap calls the second stage, then dracut. The packages lie on the second disk, and what dracut
# makes goes there, with `done` as the last file.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for folder in /run /tmp /var/tmp; do mount -t tmpfs tmp $folder; done
ln -s /proc/self/fd /dev/fd
mkdir -p /mnt
mount -t ext4 /dev/vdb /mnt
trap 'echo "peers-install: failed"; sync; echo o > /proc/sysrq-trigger; while :; do sleep 60; done' EXIT

# What must work before any other maintainer script does, in debootstrap's order.
install -d /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/triggers
: > /var/lib/dpkg/status
options="--force-depends --force-unsafe-io --force-confold"
ln -sf /usr/share/zoneinfo/UTC /etc/localtime
for package in base-passwd base-files dpkg libc6 perl-base mawk debconf; do
    dpkg $options --install /mnt/packages/${package}_*.deb
done
rm /etc/localtime
dpkg $options --unpack /mnt/packages/*.deb
dpkg $options --force-configure-any --configure --pending
dpkg --audit

# What an installer would have asked for.
echo peers > /etc/hostname
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
echo "PARTLABEL=root / ext4 defaults 0 1" > /etc/fstab
ln -sf /usr/share/zoneinfo/UTC /etc/localtime
ln -sf /usr/lib/systemd/system/multi-user.target /etc/systemd/system/default.target

# The marks: a program that writes one line to the kernel's log. The first is made by /init, which becomes systemd.
install -D -m 755 /mnt/guest /usr/lib/peers/guest
cat > /etc/systemd/system/peers-multi-user.service << 'UNIT'
[Unit]
Description=Mark multi-user.target
DefaultDependencies=no
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/lib/peers/guest mark multi-user
UNIT
install -d /etc/systemd/system/multi-user.target.wants
ln -s ../peers-multi-user.service /etc/systemd/system/multi-user.target.wants/
module=/usr/lib/dracut/modules.d/99peers
install -d $module
cat > $module/peers-initrd-done.service << 'UNIT'
[Unit]
Description=Mark the end of the initrd
DefaultDependencies=no
After=initrd-cleanup.service initrd-switch-root.target
Before=initrd-switch-root.service
[Service]
Type=oneshot
ExecStart=/usr/lib/peers/guest mark initrd-done
UNIT
cat > $module/module-setup.sh << 'MODULE'
#!/bin/bash
check() { return 0; }
depends() { echo systemd-initrd; }
install() {
    rm -f "$initdir/init"
    inst_simple /usr/lib/peers/guest /init
    inst_simple /usr/lib/peers/guest
    inst_simple "$moddir/peers-initrd-done.service" /usr/lib/systemd/system/peers-initrd-done.service
    mkdir -p "$initdir/usr/lib/systemd/system/initrd-switch-root.target.wants"
    ln -s ../peers-initrd-done.service "$initdir/usr/lib/systemd/system/initrd-switch-root.target.wants/"
}
MODULE
chmod 755 $module/module-setup.sh

# The kernel has its drivers built in, and dracut knows no modules of it. Not only what this machine needs, as Debian has it.
dracut="dracut --force --no-kernel --no-hostonly --no-compress --kver $(uname -r)"
$dracut /mnt/dracut.cpio
$dracut --add squash-erofs --squash-compressor lz4hc /mnt/squash.cpio
dpkg-query -W > /mnt/versions
rm -rf /peers-install.sh /var/cache/apt/* /var/log/*.log $module
touch /mnt/done
umount /mnt
mount -o remount,ro / || sync
trap - EXIT
echo "peers-install: done"
echo o > /proc/sysrq-trigger
while :; do sleep 60; done
