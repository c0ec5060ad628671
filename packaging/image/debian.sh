#!/bin/sh
# Makes the Debian reference image: a small Debian with systemd and the agent.
# Runs as root; as a plain user too where user namespaces are allowed (uidmap).
set -eu
me="debian image"
here=$(dirname "$(realpath "$0")")
. "$here/lib.sh"

usage() {
    cat >&2 <<'END'
usage: debian.sh --agent PATH [--out DIR] [--cache DIR] [--suite bookworm]
                 [--mirror URL] [--size 4G]

The packages come from the Debian mirror this machine's apt uses, unless --mirror
names one.
END
    exit 2
}
agent='' out=$(image_dir)/debian cache=$(image_dir)/cache suite=bookworm mirror='' size=4G
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --agent) agent=$2 ;;
    --out) out=$2 ;;
    --cache) cache=$2 ;;
    --suite) suite=$2 ;;
    --mirror) mirror=$2 ;;
    --size) size=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ -n "$agent" ] || usage
[ -x "$agent" ] || die "no agent at $agent: build it first (make build)"
need mmdebstrap mke2fs qemu-img cpio modprobe
[ "$(id -u)" = 0 ] || need unshare newuidmap

# Prints the sources.list of the image: the archives of this machine, their suites
# renamed when another release is asked for.
sources_list() {
    if [ -n "$mirror" ]; then
        echo "deb $mirror $suite main"
        return
    fi
    signed=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$signed" ] || die "$signed is missing: install debian-archive-keyring"
    # shellcheck disable=SC2016 # apt fills these in
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' \
        'Created-By: Packages' | sort -u | awk -F'|' -v suite="$suite" -v signed="$signed" '
        $1 == "Debian" && $4 == "main" {
            sub(/^[a-z]+/, suite, $3)
            print "deb [signed-by=" signed "] " $2 " " $3 " main"
        }'
}

mkdir -p "$out" "$cache"
out=$(realpath "$out")
cache=$(realpath "$cache")
lock "$out"
kernel=$("$here/kernel.sh" "$cache")
unpack_package busybox-static "$cache"
busybox=$unpacked/bin/busybox
[ -e "$busybox" ] || busybox=$unpacked/usr/bin/busybox

# nosplash, quiet: absent on purpose, the console is what is read when a boot fails.
append="console=ttyS0 root=LABEL=slipstream net.ifnames=0 panic=5"
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
sources=$work/debian.list
sources_list >"$sources"
[ -s "$sources" ] ||
    die "this machine's apt has no Debian mirror: run apt-get update, or give --mirror URL"

unit=$(realpath "$here/../../systemd/slipstream-agent.service")
rootfs_inputs=$({ echo "$suite"; digest "$sources" "$here/debian/packages" "$here/debian/rootfs.sh"; } | digest -)
inputs=$({
    echo "$rootfs_inputs $size $append"
    digest "$0" "$here/lib.sh" "$agent" "$unit" "$busybox" "$kernel/vmlinuz"
    (cd "$here" && find debian common -type f | sort | xargs sha256sum)
} | digest -)
if has_digest "$out" "$inputs"; then
    exit 0
fi

tar=$cache/debian-$suite-$(echo "$rootfs_inputs" | cut -c1-16).tar
if [ ! -e "$tar" ]; then
    say "bootstrapping $suite; this takes a minute or two"
    "$here/debian/rootfs.sh" "$suite" "$sources" "$tar" >"$tar.log" 2>&1 ||
        { tail -n 20 "$tar.log" >&2; die "the bootstrap failed: see $tar.log"; }
fi

initrd=$work/initrd.root
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/proc" "$initrd/sys" "$initrd/sysroot"
install -m 0755 "$here/debian/initrd/init" "$initrd/init"
install -m 0755 "$busybox" "$initrd/bin/busybox"
for applet in sh mount umount insmod findfs usleep cat ls poweroff switch_root; do
    ln -s busybox "$initrd/bin/$applet"
done
add_modules "$kernel" "$initrd" ext4 virtio_pci virtio_blk virtio_net virtio_console \
    virtio_rng qemu_fw_cfg button evdev
pack_initrd "$initrd" "$work/initrd"
cp -L "$kernel/vmlinuz" "$work/vmlinuz"

set -- "$here/debian/assemble.sh" "$tar" "$kernel" "$busybox" "$agent" "$unit" "$size" "$work" "$work/disk.qcow2"
if [ "$(id -u)" = 0 ]; then
    "$@"
else
    unshare --map-root-user --map-auto "$@" ||
        die "cannot assemble the disk as a plain user (user namespaces off?): run this as root"
fi
publish "$work" "$out" vmlinuz initrd disk.qcow2
version=$(tar --extract --to-stdout --file "$tar" ./usr/lib/os-release | sed -n 's/^VERSION_ID="\(.*\)"/\1/p')
write_manifest "$out" "debian-${version:-$suite}" debian disk.qcow2 "$append" 256 "$inputs"
say "made $out ($(du -m "$out/disk.qcow2" | cut -f1) MiB of disk)"
