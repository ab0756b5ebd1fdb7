#!/bin/sh
# Makes the Debian package of what `make install PREFIX=/usr` puts into a folder, and prints its path.
#
#   debian.sh FOLDER OUT [ARCHITECTURE]     FOLDER: that tree; OUT: where the package goes; ARCHITECTURE: Debian's name of the one
#                                           imagegen was built for, by a cross compiler, if not this machine's
#
# dpkg-deb alone: what the package has is what `make install` installs, and nothing is left for debhelper to find out but what
# libraries the program needs, which dpkg-shlibdeps says. The same tree and SOURCE_DATE_EPOCH give the same bytes.
set -eu
tree=$1 out=$2
here=$(cd "$(dirname "$0")/../.." && pwd)
: "${SOURCE_DATE_EPOCH:?is when the sources last changed, in seconds since 1970}"
export SOURCE_DATE_EPOCH LC_ALL=C
umask 022
command -v dpkg-shlibdeps > /dev/null || {
    echo "debian.sh: dpkg-shlibdeps is missing" >&2
    echo "  apt-get install dpkg-dev" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$tree" "$work/tree"
tree=$work/tree
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml")
architecture=${3:-$(dpkg --print-architecture)}
strip=strip cross=
if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
    triplet=$(dpkg-architecture -a "$architecture" -q DEB_HOST_GNU_TYPE 2> /dev/null)
    export DEB_HOST_ARCH="$architecture"
    strip=$triplet-strip cross=-l/usr/$triplet/lib
fi

"$strip" --strip-unneeded --remove-section=.comment --remove-section=.note "$tree/usr/bin/imagegen"
doc=$tree/usr/share/doc/initoverlayfs
install -d "$doc"
{
    echo "initoverlayfs ($version) unstable; urgency=medium"
    echo
    echo "  * What changed is in CHANGELOG.md of the sources."
    echo
    echo " -- initoverlayfs maintainers <maintainers@initoverlayfs.example>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n > "$doc/changelog.gz"
{
    echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
    echo "Upstream-Name: initoverlayfs"
    echo
    echo "Files: *"
    sed -n 's/^Copyright (c) /Copyright: /p' "$here/LICENSE-MIT"
    echo "License: Apache-2.0 or Expat"
    echo
    echo "License: Apache-2.0"
    echo " On Debian systems: /usr/share/common-licenses/Apache-2.0"
    echo
    echo "License: Expat"
    # Behind title and copyright line.
    sed -e 1,4d -e 's/^ *$/./' -e 's/^/ /' "$here/LICENSE-MIT"
} > "$doc/copyright"
install -D -m 0644 "$here/imagegen/distribution/debian/overrides" "$tree/usr/share/lintian/overrides/initoverlayfs"
gzip -9n "$tree"/usr/share/man/man1/*.1

mkdir "$tree/DEBIAN" "$work/debian"
: > "$work/debian/control"
# A cross compiler's libraries are in packages whose names say so.
libraries=$(cd "$work" && dpkg-shlibdeps ${cross:+"$cross"} -O "tree/usr/bin/imagegen" |
    sed -n -e "s/-$architecture-cross//g; s/:$architecture//g" -e 's/^shlibs:Depends=//p')
size=$(find "$tree" -path "$tree/DEBIAN" -prune -o -type f -printf '%s\n' | awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" -e "s/@DEPENDS@/$libraries/" \
    "$here/imagegen/distribution/debian/control" > "$tree/DEBIAN/control"
install -m 0755 "$here/imagegen/distribution/debian/prerm" "$here/imagegen/distribution/debian/postrm" "$tree/DEBIAN/"
(cd "$tree" && find etc -type f 2> /dev/null | sed 's|^|/|' | sort) > "$tree/DEBIAN/conffiles"
(cd "$tree" && find . -path ./DEBIAN -prune -o -path ./etc -prune -o -type f -printf '%P\n' | sort | xargs -d '\n' md5sum) > "$tree/DEBIAN/md5sums"
find "$tree" -type d -exec chmod 0755 {} +
find "$tree/DEBIAN" -type f ! -name '*rm' -exec chmod 0644 {} +
# dpkg-deb makes times that are later than that equal, and keeps those that are earlier.
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
package=$out/initoverlayfs_${version}_$architecture.deb
mkdir -p "$out"
dpkg-deb --root-owner-group --uniform-compression -Zxz --build "$tree" "$package.part" > /dev/null
mv "$package.part" "$package"
echo "$package"
