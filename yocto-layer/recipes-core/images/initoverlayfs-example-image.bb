SUMMARY = "core-image-minimal, booted from EROFS without being unpacked"
DESCRIPTION = "${SUMMARY}. Deploys a mini-initramfs, an EROFS image, their manifest, and a disk with the image in a partition."
LICENSE = "MIT"

IMAGE_INSTALL = "packagegroup-core-boot ${CORE_IMAGE_EXTRA_INSTALL}"
IMAGE_LINGUAS = ""

IMAGE_CLASSES += "image_types_initoverlayfs"
IMAGE_FSTYPES = "initoverlayfs wic"

inherit core-image

# The disk of files/wic/initoverlayfs.wks.in holds what the type has made.
IMAGE_TYPEDEP:wic = "initoverlayfs"
WKS_FILE = "initoverlayfs.wks.in"
WKS_FILE_DEPENDS = "dosfstools-native mtools-native"
IMAGE_BOOT_FILES = "${KERNEL_IMAGETYPE} ${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.initoverlayfs.initramfs;initramfs.img"
do_image_wic[depends] += "virtual/kernel:do_deploy"
