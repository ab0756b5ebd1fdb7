SUMMARY = "A kernel of Debian, deployed as virtual/kernel would"
DESCRIPTION = "${SUMMARY}: what kernel-fit-image, wic and the OSTree recipe look for."
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

PROVIDES += "virtual/kernel"
INHIBIT_DEFAULT_DEPS = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit deploy nopackages

deltask do_populate_sysroot

do_deploy() {
    cp ${FIXTURE_KERNEL} ${DEPLOYDIR}/linux.bin
    cp ${FIXTURE_KERNEL} ${DEPLOYDIR}/Image
    printf none > ${DEPLOYDIR}/linux_comp
    basename ${FIXTURE_MODULES} > ${DEPLOYDIR}/kernel-abiversion
}
addtask deploy after do_compile before do_build
