SUMMARY = "The disk of the layer's wks file"

require fixture.inc

INITOVERLAYFS_BOARD = "fixture"
IMAGE_FSTYPES = "wic"
IMAGE_TYPEDEP:wic = "initoverlayfs"
WKS_FILE = "initoverlayfs.wks.in"
WKS_FILE_DEPENDS = ""
IMAGE_BOOT_FILES = "Image ${IMGDEPLOYDIR}/${IMAGE_LINK_NAME}.initoverlayfs.initramfs;initramfs.img"
do_image_wic[depends] += "virtual/kernel:do_deploy"
