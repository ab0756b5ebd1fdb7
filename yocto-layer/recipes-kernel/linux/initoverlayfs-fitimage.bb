SUMMARY = "Kernel and mini-initramfs in one FIT image, which one signature can cover"
DESCRIPTION = "${SUMMARY}: with it the plan, and the root hash in it. Needs KERNEL_CLASSES += \"kernel-fit-extra-artifacts\"."
SECTION = "kernel"
LICENSE = "GPL-2.0-with-Linux-syscall-note"
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/files/common-licenses/GPL-2.0-with-Linux-syscall-note;md5=0bad96c422c41c3a94009dcfe1bff992"

# The image recipe whose mini-initramfs goes into it.
INITOVERLAYFS_IMAGE ?= "initoverlayfs-example-image"

inherit linux-kernel-base kernel-fit-image

INITRAMFS_IMAGE = "${INITOVERLAYFS_IMAGE}"
INITRAMFS_IMAGE_BUNDLE = "0"
# Not by a file system's name: by ours.
FIT_SUPPORTED_INITRAMFS_FSTYPES = "rootfs.initoverlayfs.initramfs initoverlayfs.initramfs"

PKGV = "${@get_kernelversion_file("${STAGING_KERNEL_BUILDDIR}")}"
