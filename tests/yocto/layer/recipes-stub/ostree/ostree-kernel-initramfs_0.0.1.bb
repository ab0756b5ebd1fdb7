SUMMARY = "Stands in for meta-updater's recipe of this name, as far as the layer's OSTree recipe needs it"
DESCRIPTION = "${SUMMARY}."
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

INHIBIT_DEFAULT_DEPS = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"
PACKAGES = "ostree-initramfs"
ALLOW_EMPTY:ostree-initramfs = "1"
