#!/bin/bash
# dracut module of mode `service`: puts what `imagegen build` made for a board with mode = "service" into an initramfs, and the
# units that mount the image and switch to it. Runs when dracut does, never at boot.
#
#   dracut --add initoverlayfs ...
#   initoverlayfs_from=FOLDER     in dracut.conf: the folder of `imagegen build --out`, if not this:
initoverlayfs_default=/var/lib/initoverlayfs/service

# Only on request: the image is made of an initramfs too, and that one is without.
check() {
    return 255
}

depends() {
    echo systemd-initrd
}

installkernel() {
    hostonly='' instmods erofs overlay loop dm_mod dm_verity
}

install() {
    local from=${initoverlayfs_from:-$initoverlayfs_default} file unit
    for file in plan bootstrap; do
        [[ -f $dracutsysrootdir$from/$file ]] || {
            dfatal "initoverlayfs: $from/$file is missing: run imagegen build for a board with mode = \"service\""
            return 1
        }
    done
    inst_simple "$from/plan" /plan
    inst_simple "$from/bootstrap" /usr/lib/initoverlayfs/bootstrap
    # What bootstrap mounts on.
    mkdir -p "$initdir"/{holder,image,upper,initoverlayfs}
    inst_multiple systemctl
    for unit in initoverlayfs.service initoverlayfs-switch.service initoverlayfs-switch.target; do
        inst_simple "$moddir/$unit" "$systemdsystemunitdir/$unit"
    done
    # Without the image there is no root file system either.
    for unit in initrd-root-fs.target sysroot.mount; do
        mkdir -p "$initdir$systemdsystemunitdir/$unit.requires"
        ln -sf ../initoverlayfs.service "$initdir$systemdsystemunitdir/$unit.requires/"
    done
}
