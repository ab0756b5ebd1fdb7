SUMMARY = "PID 1 of the mini-initramfs"
DESCRIPTION = "Finds the storage, mounts the EROFS image, lays a writable overlay over it, switches, and starts the \
content's own init. Two programs from one source, static and without libc: imagegen takes the smallest that can do \
what a board asks for; and run-init, for a content that could not leave the overlay."
SECTION = "base"

require initoverlayfs.inc

# The names that imagegen looks for.
INITOVERLAYFS_ARCH = "${@'armv7' if target_is_armv7(d) else d.getVar('TARGET_ARCH')}"
COMPATIBLE_HOST = "(aarch64|arm|x86_64).*-linux"

# Neither start files nor a C library: GNU ld itself, without gcc in between.
CARGO_RUST_TARGET_CCLD = "${HOST_PREFIX}ld"
BUILD_MODE = "--profile bootstrap"
BUILD_DIR = "bootstrap"
# Packaging strips, and complains of what is stripped already.
export CARGO_PROFILE_BOOTSTRAP_STRIP = "false"

# -z noseparate-code is GNU ld's word for ld.lld's --no-rosegment.
INITOVERLAYFS_LINKER_FLAGS = "-Clinker-flavor=ld -Clink-arg=-z -Clink-arg=noseparate-code -Clink-arg=-T -Clink-arg=${B}/discard.ld"

do_compile() {
    flags=$(awk -v arch=${INITOVERLAYFS_ARCH} '$1 == "all" || $1 == arch { $1 = ""; printf "%s", $0 }' ${S}/bootstrap/rustflags)
    # Nothing unwinds: the tables come with the library that the compiler brings, 5 KiB of them.
    echo 'SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT BEFORE .text;' > ${B}/discard.ld
    RUSTFLAGS="${RUSTFLAGS} $flags ${INITOVERLAYFS_LINKER_FLAGS}"
    export RUSTFLAGS
    "${CARGO}" build ${CARGO_BUILD_FLAGS} --package bootstrap --bin bootstrap --bin run-init --no-default-features --features program
    "${CARGO}" build ${CARGO_BUILD_FLAGS} --package bootstrap --bin bootstrap-full --features program
}

do_install() {
    install -d ${D}${nonarch_libdir}/initoverlayfs
    for program in bootstrap bootstrap-full run-init; do
        install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/$program \
            ${D}${nonarch_libdir}/initoverlayfs/$program-${INITOVERLAYFS_ARCH}
    done
}

FILES:${PN} += "${nonarch_libdir}/initoverlayfs"
# An image takes them from here; populate_sysroot strips them.
SYSROOT_DIRS += "${nonarch_libdir}/initoverlayfs"
