#!/bin/bash
# Runs the layer in bitbake itself, offline; needs checkouts of openembedded-core (wrynose) in OECORE and bitbake (2.18) in BITBAKE.
#
#   run.sh [STEP...]     parse, layer, images, boot, selftest (all of them if none is named), or by name alone:
#   run.sh crates        write imagegen-crates.inc from Cargo.lock
#   run.sh full          yocto-check-layer over all of oe-core: 10 minutes on an idle machine
#
# What is built lies in target/yocto, or YOCTO_WORK. Each step says how long it took.
set -eu
# shellcheck source=tests/yocto/environment.sh
. "$(dirname "$0")/environment.sh"
layer=$here/yocto-layer

# The layer and the fixtures, tools of this machine for all of oe-core's recipes.
offline() {
    fresh "${1:-images}"
    layers "$layer $tests/layer"
    cat >> conf/local.conf << CONF
require conf/offline-host.conf
# As if meta-updater were there.
BBFILES += "$layer/dynamic-layers/sota/recipes-*/*/*.bb"
INITRAMFS_IMAGE:pn-initoverlayfs-ostree = "fixture-initramfs"
INITRAMFS_FSTYPES:pn-initoverlayfs-ostree = "initoverlayfs.initramfs"
INITRAMFS_FSTYPES:pn-fixture-initramfs = "initoverlayfs.initramfs"
INITOVERLAYFS_IMAGE = "fixture-image"
KERNEL_CLASSES += "kernel-fit-extra-artifacts"
CONF
}

crates() {
    offline
    bitbake -c update_crates imagegen-native
    # As anyone would write it, not as it was called here.
    sed -i 's/update_crates imagegen-native/update_crates imagegen/' "$layer/recipes-core/initoverlayfs/imagegen-crates.inc"
}

parse() {
    for machine in qemuarm64 qemuarm; do
        fresh parse
        layers "$layer"
        printf 'MACHINE = "%s"\nBB_NO_NETWORK = "1"\nINHERIT_DISTRO:remove = "uninative create-spdx"\nDISTRO_FEATURES:append = " initoverlayfs"\n' \
            "$machine" >> conf/local.conf
        bitbake -p
    done
}

# Two recipes of oe-core are left: a layer must not change the signature of any task of theirs.
layer() {
    fresh layer
    layers "$tests/layer"
    cat >> conf/local.conf << CONF
OFFLINE_KEEP = "(?!core/os-release/|core/base-files/)"
require conf/offline-host.conf
# They want the class of the layer, which is not there yet.
BBMASK += "/recipes-fixture/"
CONF
    yocto-check-layer --no-auto-dependency "$layer"
}

full() {
    fresh full
    layers ""
    printf 'BB_NO_NETWORK = "1"\nINHERIT_DISTRO:remove = "uninative create-spdx"\n' >> conf/local.conf
    yocto-check-layer --no-auto-dependency "$layer"
}

images() {
    offline
    recipes="fixture-image fixture-signed-image initoverlayfs-ostree"
    # As far as it goes without a built kernel, whose version its packages have.
    recipes="$recipes initoverlayfs-fitimage:do_deploy"
    # Not among Debian's packages.
    if command -v wic > /dev/null; then recipes="$recipes fixture-disk-image"; else echo "yocto: no wic: the disk is not built"; fi
    # shellcheck disable=SC2086
    bitbake $recipes
    deploy=$PWD/tmp/deploy/images/qemuarm64
    imagegen=$(find "$PWD/tmp/work" -path '*/imagegen-native/*/image/*/bin/imagegen' | head -n 1)
    for image in fixture-image fixture-signed-image; do
        folder=$(readlink -f "$deploy/$image-qemuarm64.rootfs.initoverlayfs.d")
        "$imagegen" inspect "$folder/initramfs.img"
        "$imagegen" inspect "$folder/manifest.json" > /dev/null
        # Owners and nodes that only fakeroot can have made.
        "$imagegen" inspect "$folder/initoverlayfs.erofs" | grep -E ' 33[ /:]+44 .*etc/hostname' > /dev/null ||
            fail "$image: etc/hostname is not 33:44's" "is pseudo told to leave the root file system alone?"
    done
    "$imagegen" verify "$folder" --certificate "$work/keys/certificate.pem"
    dumpimage -T flat_dt -p 1 -o "$PWD/ramdisk" "$deploy/fitImage" > /dev/null
    cmp "$PWD/ramdisk" "$deploy/fixture-image-qemuarm64.rootfs.initoverlayfs.initramfs"
    dpkg-deb -c "$PWD"/tmp/deploy/deb/qemuarm64/initoverlayfs-ostree_*.deb | grep "usr/lib/modules/.*/initoverlayfs.erofs"
    [ ! -e "$deploy/fixture-disk-image-qemuarm64.rootfs.wic" ] || disk "$deploy/fixture-disk-image-qemuarm64.rootfs"
}

# disk PREFIX: what the type deployed lies in the disk, byte by byte.
disk() {
    sector() { sgdisk -i "$1" "$2" | sed -n 's/^First sector: \([0-9]*\).*/\1/p'; }
    cmp -n "$(stat -Lc %s "$1.initoverlayfs")" -i "$(($(sector 2 "$1.wic") * 512)):0" "$1.wic" "$1.initoverlayfs"
    mcopy -n -i "$1.wic@@$(($(sector 1 "$1.wic") * 512))" ::initramfs.img "$PWD/initramfs"
    cmp "$PWD/initramfs" "$1.initoverlayfs.initramfs"
    sgdisk -p "$1.wic"
}

boot() {
    offline
    deploy=$PWD/tmp/deploy/images/qemuarm64
    python3 "$tests/boot.py" "$OECORE/meta/lib" "$layer/lib/oeqa/runtime/cases/initoverlayfs.py" "$deploy" fixture-image
}

selftest() {
    offline
    echo 'INITOVERLAYFS_SELFTEST_IMAGE = "fixture-image"' >> conf/local.conf
    layers "$OECORE/meta-selftest $layer $tests/layer"
    rm -rf "$work/images-st"
    oe-selftest -r initoverlayfs
}

[ $# -gt 0 ] || set -- parse layer images boot selftest
for step in "$@"; do
    case $step in
        crates | parse | layer | full | images | boot | selftest) ;;
        *) fail "unknown step $step" "one of parse, layer, images, boot, selftest, crates, full" ;;
    esac
    echo "== yocto: $step"
    begun=$SECONDS
    (set -eu; "$step")
    echo "== yocto: $step: $((SECONDS - begun)) s"
done
