SUMMARY = "EROFS image beside the kernel of an OSTree deployment"
DESCRIPTION = "For images of meta-updater: what INITRAMFS_IMAGE holds is booted from this image without being unpacked, and is \
deployed and rolled back with the rest. Its mini-initramfs is in ostree-initramfs."
SECTION = "kernel"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

INHIBIT_DEFAULT_DEPS = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"
INITRAMFS_IMAGE ?= ""

# Artifacts of other recipes, put where they can be packaged.
do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    release=$(cat ${DEPLOY_DIR_IMAGE}/kernel-abiversion)
    # Where bootstrap looks for it, source `ostree`.
    install -d ${D}${nonarch_base_libdir}/modules/$release
    install -m 0600 ${DEPLOY_DIR_IMAGE}/${INITRAMFS_IMAGE}-${MACHINE}.initoverlayfs.d/initoverlayfs.erofs \
        ${D}${nonarch_base_libdir}/modules/$release/
}
do_install[depends] += "virtual/kernel:do_deploy ${INITRAMFS_IMAGE}:do_image_complete"

FILES:${PN} += "${nonarch_base_libdir}/modules/*/initoverlayfs.erofs"
RDEPENDS:${PN} = "ostree-initramfs"

python () {
    if 'initoverlayfs.initramfs' not in (d.getVar('INITRAMFS_FSTYPES') or '').split() or not d.getVar('INITRAMFS_IMAGE'):
        raise bb.parse.SkipRecipe('needs INITRAMFS_FSTYPES = "initoverlayfs.initramfs" and an INITRAMFS_IMAGE')
}
