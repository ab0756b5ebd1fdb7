SUMMARY = "Makes the mini-initramfs and the EROFS image of a board"
DESCRIPTION = "Turns an initramfs or root file system and a board file into a tiny initramfs and an EROFS image that \
boots without being unpacked; signs, verifies and installs images. The class image_types_initoverlayfs calls it."
SECTION = "devel"

require initoverlayfs.inc

CARGO_BUILD_FLAGS:append = " --package imagegen --bin imagegen"

do_install() {
    install -d ${D}${bindir} ${D}${datadir}/initoverlayfs/board-configs
    install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/imagegen ${D}${bindir}/
    install -m 0644 ${S}/board-configs/*.toml ${D}${datadir}/initoverlayfs/board-configs/
}

FILES:${PN} += "${datadir}/initoverlayfs"
# On a board `install` and `verify` do without; `build` needs mkfs.erofs.
RRECOMMENDS:${PN}:append:class-target = " erofs-utils"

BBCLASSEXTEND = "native nativesdk"
