#!/bin/sh
# Fetches Debian's cloud kernel without installing it, and prints the folder that
# holds it: vmlinuz, lib/modules and release (the kernel's version).
# Needs no root; what was fetched before is used again.
set -eu
me=kernel
here=$(dirname "$(realpath "$0")")
. "$here/lib.sh"

case ${1:-} in
'' | -*) echo "usage: kernel.sh OUTDIR" >&2; exit 2 ;;
esac
mkdir -p "$1"
out=$(realpath "$1")
need apt-cache dpkg-deb depmod

# The metapackage holds nothing but the dependency on the kernel of the day.
package=$(apt-cache show linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/^Depends: \(linux-image-[^ ,]*-cloud-amd64\).*/\1/p' | sort -V | tail -n 1)
if [ -z "$package" ]; then
    package=$(find "$out" -maxdepth 1 -type d -name 'linux-image-*' -printf '%f\n' |
        sort -V | tail -n 1 | sed 's/_.*//')
    [ -n "$package" ] || die "apt knows no linux-image-cloud-amd64: run apt-get update"
    say "apt knows no kernel; using the one fetched before"
fi
unpack_package "$package" "$out"

if [ ! -e "$unpacked/release" ]; then
    release=${package#linux-image-}
    # Since trixie packages have everything below usr/.
    [ -e "$unpacked/lib" ] || ln -s usr/lib "$unpacked/lib"
    ln -sf "boot/vmlinuz-$release" "$unpacked/vmlinuz"
    # The package makes the dependency lists only when it is installed.
    depmod -b "$unpacked" "$release"
    echo "$release" >"$unpacked/release.new"
    mv "$unpacked/release.new" "$unpacked/release"
fi
echo "$unpacked"
