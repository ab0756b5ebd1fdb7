#!/bin/sh
# Makes what the OSTree test deploys from Debian's own packages, and prints the folder:
#
#   ostree.sh SUITE ARCH
#
#   root      a small root: ostree with its libraries, busybox
#   initrd    what an initrd needs to start it: ostree-prepare-root and switch_root with theirs, busybox
#   ostree    runs the root's ostree on a machine of this architecture, whatever libraries that has
#
# As rootfs.sh: apt resolves, dpkg-deb unpacks, nothing of it runs. Taken are the programs and the libraries they name (readelf), so
# that a commit is as small as an appliance's. Cached; with it there, needs no network.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}
suite=$1 arch=$2
digest=$(sha256sum < "$setup/ostree.sh" | cut -c1-12)
folder=$cache/debian/$suite-$arch/ostree-$digest
[ ! -d "$folder" ] || {
    echo "$folder"
    exit 0
}

fail() {
    echo "ostree.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

command -v readelf > /dev/null || fail "readelf is missing" "run tests/setup/apt.sh test"
apt=$("$setup/debian.sh" "$suite" "$arch")
export APT_CONFIG="$apt/apt.conf"
part=$folder.part
rm -rf "$part"
mkdir -p "$part/archives/partial" "$part/all"
echo "fetching ostree ($suite, $arch)" >&2
apt-get -qq --no-install-recommends --download-only -y -o "Dir::Cache::archives=$part/archives" install \
    base-files ostree ostree-boot busybox-static util-linux util-linux-extra >&2 ||
    fail "cannot fetch the packages of ostree" "remove $apt to read the package lists again"
# base-files first: it brings the links from /bin, /lib and /sbin into /usr that all others are unpacked through.
for package in "$part"/archives/base-files_*.deb "$part"/archives/*.deb; do
    dpkg-deb -x "$package" "$part/all" || fail "cannot unpack $package" "run it again"
done

# take FOLDER PATH...: copies programs of the tree, and every library they name.
take() {
    to=$1
    shift
    mkdir -p "$to"
    # Links of the tree itself, which its programs are found through.
    for link in bin lib lib64 sbin; do
        [ ! -L "$part/all/$link" ] || cp -P "$part/all/$link" "$to/"
    done
    while [ $# -gt 0 ]; do
        path=$1
        shift
        [ ! -e "$to/$path" ] || continue
        mkdir -p "$to/$(dirname "$path")"
        cp -L --preserve=mode "$part/all/$path" "$to/$path" || fail "no $path in the packages" "has Debian moved it?"
        # A program that is no dynamic one names none.
        for name in $(readelf -d "$part/all/$path" 2> /dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
            case $name in
                ld-linux*)
                    # Where the kernel looks for it differs.
                    for folder_of in "lib/$arch_tuple" lib lib64; do
                        [ ! -e "$part/all/usr/$folder_of/$name" ] || set -- "$@" "usr/$folder_of/$name"
                    done
                    ;;
                *) set -- "$@" "usr/lib/$arch_tuple/$name" ;;
            esac
        done
    done
}
arch_tuple=$(dpkg-architecture -f -a "$arch" -q DEB_HOST_MULTIARCH) ||
    fail "dpkg-architecture does not know $arch" "run tests/setup/apt.sh test"
take "$part/root" usr/bin/busybox usr/bin/ostree usr/lib/ostree/ostree-remount usr/lib/os-release
# util-linux 2.42 has it in bin.
[ -e "$part/all/usr/sbin/switch_root" ] || ln -s ../bin/switch_root "$part/all/usr/sbin/switch_root"
take "$part/initrd" usr/bin/busybox usr/sbin/switch_root usr/lib/ostree/ostree-prepare-root
cat > "$part/ostree" << SCRIPT
#!/bin/sh
usr=\$(dirname "\$0")/root/usr
exec "\$usr/lib/$arch_tuple"/ld-linux*.so.* --library-path "\$usr/lib/$arch_tuple:\$LD_LIBRARY_PATH" "\$usr/bin/ostree" "\$@"
SCRIPT
chmod 755 "$part/ostree"
rm -rf "$part/all" "$part/archives"
mv "$part" "$folder"
echo "$folder"
