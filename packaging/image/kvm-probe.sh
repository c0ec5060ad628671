#!/bin/sh
# Says whether guests really run under KVM here: prints kvm or tcg, and why on stderr.
# That /dev/kvm opens proves nothing: on some machines (nested, or filtered) the
# guest never gets past its first instructions. So one is booted, with a deadline.
set -eu
me=kvm-probe
here=$(dirname "$(realpath "$0")")
. "$here/lib.sh"

image=$(image_dir)/busybox cache='' deadline=8
while [ $# -gt 0 ]; do
    case $1 in
    --image) image=${2:?}; shift 2 ;;
    --cache) cache=${2:?}; shift 2 ;;
    --deadline) deadline=${2:?}; shift 2 ;;
    *) echo "usage: kvm-probe.sh [--image BUSYBOX_IMAGE] [--cache FILE] [--deadline SECONDS]" >&2; exit 2 ;;
    esac
done

tcg() { say "$1: using tcg"; remember tcg "$1"; echo tcg; exit 0; }

# The answer holds until the machine reboots or gets another QEMU.
key=
remember() {
    [ -z "$cache" ] && return
    mkdir -p "$(dirname "$cache")"
    printf '%s\n%s\n%s\n' "$1" "$key" "$2" >"$cache.new"
    mv "$cache.new" "$cache"
}

need qemu-system-x86_64
if [ -n "$cache" ]; then
    key="$(cat /proc/sys/kernel/random/boot_id) $(qemu-system-x86_64 --version | head -n 1)"
    if [ -e "$cache" ] && [ "$(sed -n 2p "$cache")" = "$key" ]; then
        say "remembered: $(sed -n 3p "$cache")"
        sed -n 1p "$cache"
        exit 0
    fi
fi
[ -e /dev/kvm ] || tcg "no /dev/kvm"
{ [ -r /dev/kvm ] && [ -w /dev/kvm ]; } ||
    tcg "no permission for /dev/kvm (add this user to the group kvm)"
[ -e "$image/manifest.json" ] ||
    die "no image at $image to probe with: make it with packaging/image/busybox.sh"

work=$(mktemp -d)
qemu=
gone() { ! kill -0 "$qemu" 2>/dev/null; }
# shellcheck disable=SC2317 # called by the trap
finish() {
    # Only our own process, and without waiting for it: one that hangs in the kernel
    # would hang us too.
    [ -z "$qemu" ] || kill -9 "$qemu" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

qemu-system-x86_64 -machine pc -accel kvm -m 128 -nodefaults -display none -no-reboot \
    -kernel "$image/vmlinuz" -initrd "$image/initrd" \
    -append "console=ttyS0 panic=-1 slipstream.probe" \
    -serial "file:$work/console" </dev/null >"$work/qemu" 2>&1 &
qemu=$!

ticks=$((deadline * 10))
while [ "$ticks" -gt 0 ]; do
    if grep -qs SLIPSTREAM-PROBE-OK "$work/console"; then
        say "a guest booted in $(((deadline * 10 - ticks) / 10)) s"
        remember kvm "a guest booted"
        echo kvm
        exit 0
    fi
    if gone; then
        tcg "QEMU cannot start a guest: $(head -n 1 "$work/qemu")"
    fi
    sleep 0.1
    ticks=$((ticks - 1))
done
tcg "no guest booted within $deadline s ($(wc -l <"$work/console" 2>/dev/null || echo 0) lines of console)"
