#!/bin/sh
# Installs the programs that building, the VMs and the reference images need.
# Quiet when nothing is missing; otherwise says what each missing one is for.
set -eu

usage() {
    cat <<'END'
usage: install-deps.sh [--check-only] GROUP...

groups:
  build   compile SlipStream
  vm      run VMs on this machine (the qemu connector, make test)
  image   make the Debian reference image
  bench   measure beside etcd (make bench)
  editor  try module files in an editor's language server (make test-editor)

--check-only, or NO_INSTALL=1 in the environment: install nothing, name what
is missing and the command that installs it, and exit 1.
END
}

# group | program, or file for what is no program | Debian package | needed for
needs() {
    cat <<'END'
build|cc|gcc|linking Rust programs, compiling the C and assembly parts of ring
build|make|make|running the targets of the Makefile
build|/usr/lib/*/libc.a|libc6-dev|linking the agent statically
vm|qemu-system-x86_64|qemu-system-x86|running the VMs
vm|/usr/share/seabios/bios-256k.bin|seabios|the firmware that starts the kernel of a VM
vm|qemu-img|qemu-utils|making the overlay disk of each VM
vm|mke2fs|e2fsprogs|making the disk of the small image
vm|vde_switch|vde2|the private network between VMs
vm|ssh|openssh-client|opening a shell on a VM
vm|cpio|cpio|packing the initrd of an image
vm|depmod|kmod|resolving the kernel modules of an image
vm|zstd|zstd|reading packages and kernel modules
vm|xz|xz-utils|reading packages and kernel modules
image|mmdebstrap|mmdebstrap|making the root of the Debian image
image|newuidmap|uidmap|making the Debian image without being root
image|mke2fs|e2fsprogs|making its disk
image|qemu-img|qemu-utils|converting its disk to qcow2
image|cpio|cpio|packing its initrd
image|depmod|kmod|resolving its kernel modules
image|zstd|zstd|reading packages and kernel modules
image|xz|xz-utils|reading packages and kernel modules
editor|npm|npm|installing the language server
editor|node|nodejs|running it
bench|etcd|etcd-server|the server that the coordinator is measured beside
END
}

# Plain users have no sbin in PATH, where mke2fs and depmod live.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

present() {
    case $1 in
    # The pattern is meant to expand: the folder is named after the architecture.
    /*) for file in $1; do [ -e "$file" ] && return 0; done; return 1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

check_only=${NO_INSTALL:-}
groups=
for arg in "$@"; do
    case $arg in
    --check-only) check_only=1 ;;
    -h | --help) usage; exit 0 ;;
    build | vm | image | bench) groups="$groups $arg" ;;
    *) echo "install-deps: unknown group or option: $arg" >&2; usage >&2; exit 2 ;;
    esac
done
[ -n "$groups" ] || { usage >&2; exit 2; }

# Fills $packages and reports what is missing among the groups asked for.
find_missing() {
    packages=
    hash -r
    list=$(needs)
    while IFS='|' read -r group program package why; do
        case " $groups " in *" $group "*) ;; *) continue ;; esac
        present "$program" && continue
        case " $packages " in *" $package "*) continue ;; esac
        packages="${packages:+$packages }$package"
        echo "install-deps: missing $program (package $package): $why" >&2
    done <<END
$list
END
}

# Cargo is only reported: Debian's own is older than the rust-version we need.
if [ "${groups#*build}" != "$groups" ] && ! command -v cargo >/dev/null 2>&1 &&
    ! [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    echo "install-deps: missing cargo: install Rust with rustup (see rust-version in Cargo.toml)" >&2
    cargo_missing=1
fi

find_missing
if [ -z "$packages" ]; then
    exit "${cargo_missing:-0}"
fi

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
command="apt-get install -y --no-install-recommends"

if [ -n "$check_only" ] && [ "$check_only" != 0 ]; then
    echo "install-deps: to install: ${sudo:+$sudo }$command $packages" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-deps: no apt-get here: install the equivalents of: $packages" >&2
    exit 1
fi
if [ -n "$sudo" ] && ! command -v sudo >/dev/null 2>&1; then
    echo "install-deps: not root and no sudo: as root, run: $command $packages" >&2
    exit 1
fi

# $sudo, $command and $packages are split on purpose.
# shellcheck disable=SC2086
install() {
    export DEBIAN_FRONTEND=noninteractive
    # Lists may be stale or absent: try with what is there before refreshing them.
    $sudo $command -q $packages >/dev/null 2>&1 && return
    $sudo apt-get update -q >&2
    $sudo $command -q $packages >&2
}

# Twice: where packages come from different releases, apt may remove one of the
# others that we need (qemu-utils of another version than qemu-system-x86).
for _ in 1 2; do
    install
    find_missing
    [ -n "$packages" ] || exit "${cargo_missing:-0}"
done
echo "install-deps: still missing after the installation: $packages" >&2
exit 1
