#!/bin/sh
# Runs as the only process of a virtual machine that tests/setup/system.sh starts. The first time on a tree that was unpacked but
# never installed: what debootstrap calls the second stage. The second time on that system, which gets a kernel and what makes its
# initramfs. The packages lie on the third disk; `done` there says that all went well.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for folder in /run /tmp; do mount -t tmpfs tmp $folder; done
ln -s /proc/self/fd /dev/fd
mkdir -p /mnt /boot
mount -t ext4 /dev/vdb /boot
mount -t ext4 /dev/vdc /mnt
trap 'echo "system-install: failed"; sync; echo o > /proc/sysrq-trigger; while :; do sleep 60; done' EXIT
options="--force-depends --force-unsafe-io --force-confold"

# What must work before any other maintainer script does, in debootstrap's order.
first() {
    install -d /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/triggers
    : > /var/lib/dpkg/status
    ln -sf /usr/share/zoneinfo/UTC /etc/localtime
    for package in base-passwd base-files dpkg libc6 perl-base mawk debconf; do
        dpkg $options --install /mnt/packages/${package}_*.deb
    done
    rm /etc/localtime
    dpkg $options --unpack /mnt/packages/*.deb
    dpkg $options --force-configure-any --configure --pending
    dpkg --audit

    # What an installer would have asked for.
    echo system > /etc/hostname
    echo 0123456789abcdef0123456789abcdef > /etc/machine-id
    {
        echo "UUID=00000000-0000-4000-8000-000000000001 / ext4 defaults 0 1"
        echo "UUID=00000000-0000-4000-8000-000000000002 /boot ext4 defaults 0 2"
    } > /etc/fstab
    ln -sf /usr/share/zoneinfo/UTC /etc/localtime
    ln -sf /usr/lib/systemd/system/multi-user.target /etc/systemd/system/default.target
    cat > /etc/default/grub << GRUB
GRUB_DEFAULT=saved
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="$(sed 's/ root=.*//' /proc/cmdline) panic=-1 systemd.show_status=0"
GRUB_TERMINAL=console
GRUB
    # What the tests have to say, on a disk of theirs; what came of it is in the file `said` there.
    cat > /etc/systemd/system/tests.service << 'UNIT'
[Unit]
Description=What the tests have to say
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount LABEL=tests /mnt && cd /mnt && { sh -x ./stage > said 2>&1; echo "status $?" >> said; }; cd /; umount /mnt; systemctl reboot'
UNIT
    install -d /etc/systemd/system/multi-user.target.wants
    ln -s ../tests.service /etc/systemd/system/multi-user.target.wants/
    # Nothing that runs at a time of its own.
    for timer in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer; do
        ln -sf /dev/null "/etc/systemd/system/$timer"
    done
}

# A kernel, and what makes its initramfs: for any virtio machine, since this one has other devices than the one that boots.
second() {
    # Where GRUB's tools look for what a disk is known by; there is no udev here.
    mkdir -p /dev/disk/by-uuid
    ln -s ../../vda /dev/disk/by-uuid/00000000-0000-4000-8000-000000000001
    ln -s ../../vdb /dev/disk/by-uuid/00000000-0000-4000-8000-000000000002
    install -d /etc/initramfs-tools/conf.d /etc/dracut.conf.d /boot/grub
    printf 'MODULES=list\nCOMPRESSLEVEL=1\n' > /etc/initramfs-tools/conf.d/tests
    printf 'virtio_pci\nvirtio_blk\next4\n' > /etc/initramfs-tools/modules
    echo 'hostonly="no" compress="cat" add_drivers+=" virtio_pci virtio_blk ext4 "' > /etc/dracut.conf.d/tests.conf
    ls /mnt/packages
    dpkg $options --install $(ls -1 /mnt/packages/*.deb | grep -v linux-image)
    dpkg $options --install /mnt/packages/linux-image-*.deb
    update-grub
    dpkg --audit
    ls -l /boot
    grep -E "menuentry |linux|initrd" /boot/grub/grub.cfg
}

if [ -s /var/lib/dpkg/status ]; then second; else first; fi
rm -rf /var/cache/apt/* /var/log/*.log
touch /mnt/done
umount /mnt /boot
mount -o remount,ro / || sync
trap - EXIT
echo "system-install: done"
echo o > /proc/sysrq-trigger
while :; do sleep 60; done
