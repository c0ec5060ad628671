# Shared by the image scripts: sourced, not run. The caller sets $me.
# shellcheck shell=sh

# Plain users have no sbin in PATH, where mke2fs, depmod and modprobe live.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL=C.UTF-8

# shellcheck disable=SC2154
say() { echo "$me: $*" >&2; }
die() { say "$@"; exit 1; }

# need PROGRAM...: stops, naming the way to get them, when one is missing.
need() {
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 ||
            die "$program is not installed: run packaging/install-deps.sh vm image"
    done
}

# Where images and downloads are kept unless the caller says otherwise.
# shellcheck disable=SC2154 # $here is the folder of the script that sources this
image_dir() { echo "${SLIPSTREAM_IMAGE_DIR:-$(realpath -m "$here/../../target/images")}"; }

# lock DIR: until this script ends. Tests ask for the same image at the same time.
lock() {
    exec 9>"$1/.lock"
    flock 9
}

# digest FILE...: one SHA-256 over contents only, so that moved files count as equal.
digest() { cat -- "$@" | sha256sum | cut -d' ' -f1; }

# candidate PACKAGE: the version apt would install, empty when it knows none.
candidate() {
    apt-cache policy "$1" 2>/dev/null |
        sed -n 's/^  Candidate: //p' | grep -v '^(none)$' || true
}

# unpack_package PACKAGE DIR: downloads PACKAGE and unpacks it as DIR/PACKAGE_VERSION
# without installing it; sets $unpacked. What is there already is not fetched again,
# and serves when apt knows no version (offline, lists removed).
unpack_package() {
    version=$(candidate "$1")
    if [ -z "$version" ]; then
        unpacked=$(find "$2" -maxdepth 1 -type d -name "$1_*" 2>/dev/null | sort -V | tail -n 1)
        [ -n "$unpacked" ] || die "apt knows no package $1: run apt-get update"
        return
    fi
    unpacked=$2/$1_$version
    [ -d "$unpacked" ] && return
    need apt-get dpkg-deb
    mkdir -p "$2"
    fresh=$(mktemp -d "$2/.$1.XXXXXX")
    # apt drops to its own user for downloads, which cannot write here.
    (cd "$fresh" && apt-get -q=2 -o APT::Sandbox::User="$(id -un)" download "$1=$version" >&2) ||
        { rm -rf "$fresh"; die "cannot download $1 $version: run apt-get update and try again"; }
    mkdir "$fresh/root"
    dpkg-deb -x "$fresh"/*.deb "$fresh/root"
    mv -T "$fresh/root" "$unpacked" 2>/dev/null || [ -d "$unpacked" ] ||
        die "cannot write $unpacked"
    rm -rf "$fresh"
}

# modules KERNEL_DIR MODULE...: files of the modules and of what they need, in the
# order in which they must be loaded; built-in ones are left out.
modules() {
    kernel_dir=$1
    shift
    modprobe -a -S "$(cat "$kernel_dir/release")" -d "$kernel_dir" --show-depends "$@" |
        sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'
}

# add_modules KERNEL_DIR ROOT MODULE...: copies them, decompressed, to ROOT/modules
# with their load order in ROOT/modules/order.
add_modules() {
    from=$1 root=$2
    shift 2
    mkdir -p "$root/modules"
    modules "$from" "$@" >"$root/modules/order.full"
    while read -r file; do
        name=$(basename "$file")
        case $name in
        *.xz) xz -dc "$file" >"$root/modules/${name%.xz}" ;;
        *.zst) zstd -qdc "$file" >"$root/modules/${name%.zst}" ;;
        *) cp "$file" "$root/modules/$name" ;;
        esac
        name=${name%.xz}
        echo "${name%.zst}"
    done <"$root/modules/order.full" >"$root/modules/order"
    rm "$root/modules/order.full"
    [ -s "$root/modules/order" ] || die "no modules found in $from"
}

# pack_initrd ROOT FILE: uncompressed, since unpacking costs more under TCG than
# reading a few megabytes, and the same bytes for the same content.
pack_initrd() {
    find "$1" -exec touch -h -d @0 {} +
    (cd "$1" && find . | sort | cpio --quiet --reproducible -R 0:0 -o -H newc) >"$2"
}

# has_digest DIR DIGEST: DIR holds a whole image made from these inputs.
has_digest() {
    grep -qs "\"input_digest\": *\"$2\"" "$1/manifest.json"
}

# publish WORK DIR FILE...: by rename, never in place: whoever has a file open, or a
# hard link to it (a VM whose overlay is backed by it), keeps the old content. Without
# manifest.json, which goes first and is written last, there is no image.
publish() {
    work_dir=$1 image=$2
    shift 2
    rm -f "$image/manifest.json"
    for file in "$@"; do
        sync "$work_dir/$file"
        mv "$work_dir/$file" "$image/$file"
    done
}

# write_manifest DIR NAME PLATFORM DISK APPEND MIN_RAM DIGEST: DISK may be empty.
write_manifest() {
    cat >"$1/manifest.json.new" <<END
{
  "format": 1,
  "name": "$2",
  "platform": "$3",
  "kernel": "vmlinuz",
  "initrd": "initrd",
  "disk": $([ -n "$4" ] && echo "\"$4\"" || echo null),
  "append": "$5",
  "login": "root",
  "min_ram_mib": $6,
  "input_digest": "$7"
}
END
    sync "$1/manifest.json.new"
    mv "$1/manifest.json.new" "$1/manifest.json"
}

# The agent under its own name and the names of the original's commands.
# install_agent AGENT ROOT
install_agent() {
    mkdir -p "$2/usr/bin"
    install -m 0755 "$1" "$2/usr/bin/slipstream-agent"
    for name in get get-all set display abort cancel-abort random; do
        ln -sf slipstream-agent "$2/usr/bin/ss-$name"
    done
}
