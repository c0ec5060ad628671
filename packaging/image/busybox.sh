#!/bin/sh
# Makes the small reference image: the agent on a busybox that lives in memory, with a
# small disk for what a machine changes. It boots in seconds even without KVM, so it is
# what the tests use.
set -eu
me="busybox image"
here=$(dirname "$(realpath "$0")")
. "$here/lib.sh"

usage() {
    echo "usage: busybox.sh --agent PATH [--out DIR] [--cache DIR]" >&2
    exit 2
}
agent='' out=$(image_dir)/busybox cache=$(image_dir)/cache
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --agent) agent=$2 ;;
    --out) out=$2 ;;
    --cache) cache=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ -n "$agent" ] || usage
[ -x "$agent" ] || die "no agent at $agent: build it first (make build)"
need cpio modprobe mke2fs qemu-img

mkdir -p "$out"
lock "$out"
kernel=$("$here/kernel.sh" "$cache")
unpack_package busybox-static "$cache"
busybox=$unpacked/bin/busybox
[ -e "$busybox" ] || busybox=$unpacked/usr/bin/busybox

# ttyS0 is where the coordinator reads the boot log. The root is the initrd itself.
append="console=ttyS0 panic=5"
disk_size=256M
inputs=$({
    digest "$0" "$here/lib.sh" "$agent" "$busybox" "$kernel/vmlinuz"
    (cd "$here" && find busybox common -type f | sort | xargs sha256sum)
} | digest -)
if has_digest "$out" "$inputs"; then
    exit 0
fi

work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -m 0755 "$root"
for dir in bin dev etc proc root run sbin sys tmp usr/bin usr/sbin var/www mnt opt home; do
    mkdir -p "$root/$dir"
done
mkdir -p "$root/var/lib/slipstream"
chmod 0700 "$root/var/lib/slipstream"
cp -R "$here/busybox/." "$root"
# Whatever the umask of whoever checked this out.
chmod -R go+rX "$root/etc" "$root/init"
chmod 0755 "$root/init" "$root/etc/agent" "$root/etc/acpi/PWRF/00000080"
install -m 0755 "$here/common/udhcpc.script" "$root/etc/udhcpc.script"

install -m 0755 "$busybox" "$root/bin/busybox"
# The image has what its own busybox offers, each where scripts expect it.
"$busybox" --list-full | while read -r applet; do
    [ -e "$root/$applet" ] || ln -s /bin/busybox "$root/$applet"
done
install_agent "$agent" "$root"
add_modules "$kernel" "$root" virtio_pci virtio_net virtio_blk virtio_console \
    virtio_rng qemu_fw_cfg button evdev ext4 overlay

pack_initrd "$root" "$work/initrd"
cp -L "$kernel/vmlinuz" "$work/vmlinuz"
# Empty: what the image brings stays in the initrd. A whole file of zeros, so no inode table needs clearing.
truncate -s "$disk_size" "$work/disk.raw"
mke2fs -q -t ext4 -L slipstream -m 0 -E assume_storage_prezeroed=1 "$work/disk.raw"
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
publish "$work" "$out" vmlinuz initrd disk.qcow2
write_manifest "$out" busybox busybox disk.qcow2 "$append" 96 "$inputs"
say "made $out ($(du -k "$out/initrd" | cut -f1) KiB of initrd)"
