# Image type `initoverlayfs`: the root file system of any image recipe as a mini-initramfs and an EROFS image.
#
#   IMAGE_CLASSES += "image_types_initoverlayfs"
#   IMAGE_FSTYPES += "initoverlayfs"
#
# IMAGE_LINK_NAME.initoverlayfs             the EROFS image: a partition's content
# IMAGE_LINK_NAME.initoverlayfs.initramfs   what the bootloader loads
# IMAGE_LINK_NAME.initoverlayfs.json        the manifest: sizes, SHA-256, versions, the plan in words
# IMAGE_LINK_NAME.initoverlayfs.d           the folder that these lie in: `imagegen boot`, `verify` and `install` take it

# A name: files/initoverlayfs/NAME.toml of any layer, else one of imagegen's own boards; or a path.
INITOVERLAYFS_BOARD ??= "${MACHINE}"
# What is different from the board, in TOML; wins over the board's keys. "\n" is a line break.
INITOVERLAYFS_BOARD_EXTRA ??= ""
# root-hash, signature, fs-verity or none; empty: as the board says.
INITOVERLAYFS_VERITY ??= ""
# Key and certificate (PEM) of the kernel's keyring. With both the image is signed, and then verified.
INITOVERLAYFS_KEY ??= ""
INITOVERLAYFS_CERTIFICATE ??= ""
# Further options of `imagegen sign`: --provider, --engine.
INITOVERLAYFS_SIGN_ARGS ??= ""
# Folder of the kernel's modules; `auto`: the one in the root file system, if there is exactly one; empty: all built in.
INITOVERLAYFS_MODULES ??= "auto"
# Further options of `imagegen build`, such as --rescue.
INITOVERLAYFS_BUILD_ARGS ??= ""

IMAGE_TYPES += "initoverlayfs initoverlayfs.initramfs"
# So that the mini-initramfs alone can be asked for, where a recipe has room for one type: INITRAMFS_FSTYPES.
CONVERSIONTYPES += "initramfs"
CONVERSION_CMD:initramfs = "test -e ${IMAGE_NAME}.${type}.initramfs"

INITOVERLAYFS_WORK = "${WORKDIR}/initoverlayfs"

def initoverlayfs_board_file(d):
    """The board's file, if a layer or a path names it; else nothing, and the name is imagegen's."""
    board = d.getVar('INITOVERLAYFS_BOARD')
    if os.path.isabs(board):
        return board
    return bb.utils.which(d.getVar('BBPATH'), 'files/initoverlayfs/%s.toml' % board)

def initoverlayfs_checksums(d):
    """Files of the host that the image is made of: the board, parents beside it, certificate. A key may be a token's."""
    board = initoverlayfs_board_file(d)
    files = [os.path.join(os.path.dirname(board), '*.toml')] if board else []
    files += [path for path in (d.getVar('INITOVERLAYFS_CERTIFICATE'), d.getVar('INITOVERLAYFS_KEY')) if os.path.isabs(path)]
    return ' '.join('%s:True' % path for path in files)

def initoverlayfs_overrides(d):
    """What the variables say beside the board's file."""
    verity = d.getVar('INITOVERLAYFS_VERITY')
    text = d.getVar('INITOVERLAYFS_BOARD_EXTRA').replace('\\n', '\n')
    if verity:
        text = 'verity.method = "%s"\n%s' % (verity, text)
    return text

python initoverlayfs_check() {
    key, certificate = d.getVar('INITOVERLAYFS_KEY'), d.getVar('INITOVERLAYFS_CERTIFICATE')
    if bool(key) != bool(certificate):
        bb.fatal("INITOVERLAYFS_KEY and INITOVERLAYFS_CERTIFICATE go together: set both or none")
    board = d.getVar('INITOVERLAYFS_BOARD')
    if os.path.isabs(board) and not os.path.exists(board):
        bb.fatal("INITOVERLAYFS_BOARD: there is no %s" % board)
}

python initoverlayfs_write_board() {
    import glob, shutil
    work = d.getVar('INITOVERLAYFS_WORK')
    bb.utils.remove(work, True)
    bb.utils.mkdirhier(work)
    board, found = d.getVar('INITOVERLAYFS_BOARD'), initoverlayfs_board_file(d)
    extra = initoverlayfs_overrides(d)
    if extra:
        # Copied, so that no path of this host gets into the manifest.
        if found:
            for path in glob.glob(os.path.join(os.path.dirname(found), '*.toml')):
                shutil.copyfile(path, os.path.join(work, os.path.basename(path)))
            board = os.path.basename(found)[:-len('.toml')]
        found = os.path.join(work, 'with-variables.toml')
        with open(found, 'w') as f:
            f.write('inherit = "%s"\n%s\n' % (board, extra))
    with open(os.path.join(work, 'board'), 'w') as f:
        f.write(found or board)
}

IMAGE_CMD:initoverlayfs () {
    work=${INITOVERLAYFS_WORK}
    name=${IMAGE_NAME}.initoverlayfs
    modules="${INITOVERLAYFS_MODULES}"
    if [ "$modules" = auto ]; then
        modules=$(find ${IMAGE_ROOTFS}${nonarch_base_libdir}/modules -mindepth 2 -maxdepth 2 -name modules.dep 2> /dev/null || true)
        case "$modules" in
        *.dep*.dep) bbfatal "more than one kernel's modules in the image: name a folder in INITOVERLAYFS_MODULES" ;;
        esac
        modules=${modules%/modules.dep}
    fi
    export INITOVERLAYFS_BOARDS=${STAGING_DATADIR_NATIVE}/initoverlayfs/board-configs
    # Where pseudo keeps owners and device nodes.
    export TMPDIR=$work
    set -- --from ${IMAGE_ROOTFS} --bootstrap ${RECIPE_SYSROOT}${nonarch_libdir}/initoverlayfs ${INITOVERLAYFS_BUILD_ARGS}
    if [ -n "$modules" ]; then
        set -- "$@" --modules "$modules"
    fi
    imagegen build "$(cat $work/board)" "$@" --out $work/out
    # Copied, not moved, and removed where pseudo sees it: it takes an inode it has seen before for the old file, and aborts.
    folder=${IMGDEPLOYDIR}/$name.d
    rm -rf $folder
    cp -r --sparse=always $work/out $folder
    rm -rf $work/out
    export TMPDIR=${T}
    if [ -n "${INITOVERLAYFS_KEY}" ]; then
        # A folder is exchanged for another, which pseudo cannot; owners matter no more.
        PSEUDO_UNLOAD=1 imagegen sign $folder --key '${INITOVERLAYFS_KEY}' --certificate '${INITOVERLAYFS_CERTIFICATE}' \
            ${INITOVERLAYFS_SIGN_ARGS}
        PSEUDO_UNLOAD=1 imagegen verify $folder --certificate '${INITOVERLAYFS_CERTIFICATE}'
    fi
    chmod -R u=rwX,go=rX $folder
    ln -sfn $name.d/initoverlayfs.erofs ${IMGDEPLOYDIR}/$name
    ln -sfn $name.d/initramfs.img ${IMGDEPLOYDIR}/$name.initramfs
    ln -sfn $name.d/manifest.json ${IMGDEPLOYDIR}/$name.json
}

do_image_initoverlayfs[prefuncs] += "initoverlayfs_check initoverlayfs_write_board"
do_image_initoverlayfs[subimages] += "initoverlayfs.initramfs initoverlayfs.json initoverlayfs.d"
do_image_initoverlayfs[depends] += "imagegen-native:do_populate_sysroot erofs-utils-native:do_populate_sysroot \
    initoverlayfs-bootstrap:do_populate_sysroot ${@'openssl-native:do_populate_sysroot' if d.getVar('INITOVERLAYFS_KEY') else ''}"
do_image_initoverlayfs[file-checksums] += "${@initoverlayfs_checksums(d)}"
PSEUDO_INCLUDE_PATHS .= ",${INITOVERLAYFS_WORK}"
