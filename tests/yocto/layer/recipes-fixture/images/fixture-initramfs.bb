SUMMARY = "The mini-initramfs alone, as meta-updater asks for it: INITRAMFS_FSTYPES"

require fixture.inc

IMAGE_NAME_SUFFIX = ""
INITOVERLAYFS_BOARD = "qemuarm64-ostree"
# As with the kernel fragment, which builds all of them in.
INITOVERLAYFS_MODULES = ""
IMAGE_FSTYPES = "${INITRAMFS_FSTYPES}"

fake_rootfs:append() {
    ln -s sbin/init ${IMAGE_ROOTFS}/init
}
