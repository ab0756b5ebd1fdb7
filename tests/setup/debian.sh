#!/bin/sh
# Fetches Debian packages of any suite and architecture without touching the system's apt.
#
#   debian.sh SUITE ARCH PACKAGE     unpack PACKAGE (an extended regular expression; the newest match), print the folder
#   debian.sh SUITE ARCH             print the private apt folder, whose apt.conf is for APT_CONFIG
#
# A private apt directory per suite and architecture, with this machine's own mirror, proxy and keys, so that a mirror
# set up by an administrator is honoured and no host name is written here. What was fetched stays in the cache folder
# ($INITOVERLAYFS_CACHE, else .cache in this checkout) and the next run needs no network.
set -eu
suite=$1 arch=$2 package=${3:-}
here=$(cd "$(dirname "$0")/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}/debian
unpacked=$cache/$suite-$arch/$(printf '%s' "$package" | tr -cd 'a-z0-9.-')
if [ -n "$package" ] && [ -e "$unpacked/.complete" ]; then
    echo "$unpacked"
    exit 0
fi

fail() {
    echo "debian.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

apt=$cache/apt/$suite-$arch
if [ ! -e "$apt/ready" ]; then
    # The first mirror of this machine that serves Debian itself.
    site=$(apt-get indextargets --format '$(SITE)|$(ORIGIN)|$(LABEL)' 2>/dev/null |
        awk -F'|' '$2 == "Debian" && $3 == "Debian" { print $1; exit }')
    [ -n "$site" ] || fail "no Debian mirror in this machine's apt configuration" "run 'apt-get update' first"
    keys=$(ls /usr/share/keyrings/debian-archive-keyring.* 2>/dev/null | head -n 1)
    [ -n "$keys" ] || fail "Debian's archive keys are missing" "apt-get install debian-archive-keyring"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    : > "$apt/status"
    case $suite in *-security) site=$site-security ;; esac
    echo "deb [signed-by=$keys] $site $suite main" > "$apt/sources.list"
    cat > "$apt/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
CONF
    APT_CONFIG=$apt/apt.conf apt-get -qq update >&2 || fail "cannot read the package lists of $suite ($arch)" "is the network up? A second run needs none."
    touch "$apt/ready"
fi
if [ -z "$package" ]; then
    echo "$apt"
    exit 0
fi
export APT_CONFIG="$apt/apt.conf"

name=$(apt-cache pkgnames | grep -xE -- "$package" | sort -V | tail -n 1)
[ -n "$name" ] || fail "no package matches $package in $suite ($arch)" "remove $apt to read the package lists again"
echo "fetching $name ($suite, $arch)" >&2
rm -rf "$apt/fetch" && mkdir -p "$apt/fetch"
(cd "$apt/fetch" && apt-get -qq download "$name" >&2) || fail "cannot fetch $name from $suite ($arch)" "remove $apt to read the package lists again"
rm -rf "$unpacked" "$unpacked.part"
mkdir -p "$unpacked.part"
dpkg-deb -x "$apt"/fetch/*.deb "$unpacked.part"
basename "$apt"/fetch/*.deb > "$unpacked.part/.complete"
rm -rf "$apt/fetch"
mv "$unpacked.part" "$unpacked"
echo "$unpacked"
