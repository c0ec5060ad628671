#!/bin/sh
# Unpacks the bootstrapped root, adds what SlipStream brings and makes the disk.
# Runs as root, or as root of a user namespace: files must have their real owners.
# assemble.sh TAR KERNEL_DIR BUSYBOX AGENT UNIT SIZE WORK_DIR DISK
set -eu
here=$(dirname "$(realpath "$0")")
# shellcheck source=SCRIPTDIR/../lib.sh
. "$here/../lib.sh"
tar=$1 kernel=$2 busybox=$3 agent=$4 unit=$5 size=$6 work=$7 disk=$8

root=$work/root
trap 'rm -rf "$root" "$work/disk.raw"' EXIT
mkdir -m 0755 "$root"
# Device nodes cannot be made in a user namespace; devtmpfs brings them.
tar --extract --file "$tar" --directory "$root" --preserve-permissions --numeric-owner \
    --xattrs --xattrs-include='*' --exclude='./dev/*'

cp -R --no-preserve=ownership "$here/root/." "$root"
# Whatever the umask of whoever checked this out.
chmod -R go+rX "$root/etc/systemd" "$root/etc/ssh"
mkdir -p "$root/usr/lib/slipstream"
install -m 0755 "$busybox" "$root/usr/lib/slipstream/busybox"
install -m 0755 "$here/../common/udhcpc.script" "$root/usr/lib/slipstream/udhcpc.script"
: >"$root/etc/resolv.conf"
# Holds only comments, and would cost a remount of the root.
rm -f "$root/etc/fstab"
echo debian >"$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n::1\tlocalhost ip6-localhost\n' >"$root/etc/hosts"
echo LANG=C.UTF-8 >"$root/etc/default/locale"
# Empty, not "uninitialized": both get a fresh id at the first boot, but the latter
# also has systemd reset every unit to its preset, which costs seconds.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"

units=$root/etc/systemd/system
install -m 0644 "$unit" "$units/slipstream-agent.service"
wants() { mkdir -p "$units/$1.wants"; ln -sf "$3" "$units/$1.wants/$2"; }
wants multi-user.target slipstream-agent.service /etc/systemd/system/slipstream-agent.service
for target in multi-user.target network-online.target; do
    wants "$target" slipstream-dhcp.service /etc/systemd/system/slipstream-dhcp.service
done
wants multi-user.target slipstream-console.service /etc/systemd/system/slipstream-console.service
wants multi-user.target slipstream-coldplug.service /etc/systemd/system/slipstream-coldplug.service
wants sockets.target ssh.socket /lib/systemd/system/ssh.socket
rm -f "$units/multi-user.target.wants/ssh.service" "$units/sshd.service"
# Upkeep of machines that live for months, and consoles that nobody looks at.
while read -r name; do
    ln -sf /dev/null "$units/$name"
done <"$here/masked-units"
# Nothing here is encrypted, verified or hibernated; each costs a process at boot and
# at every daemon-reload, which package installations do several times.
mkdir -p "$root/etc/systemd/system-generators"
while read -r name; do
    ln -sf /dev/null "$root/etc/systemd/system-generators/$name"
done <"$here/masked-generators"

install_agent "$agent" "$root"
mkdir -p "$root/var/lib/slipstream"
chmod 0700 "$root/var/lib/slipstream"
mkdir -p "$root/etc/slipstream" "$root/lib/modules"
cp -R --no-preserve=ownership "$kernel/lib/modules/." "$root/lib/modules"

# The file starts as zeros, so that no inode table needs clearing, now or in the VM.
truncate -s "$size" "$work/disk.raw"
mke2fs -q -t ext4 -L slipstream -m 1 -E assume_storage_prezeroed=1 -d "$root" "$work/disk.raw"
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$disk"
