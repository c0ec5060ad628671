#!/bin/sh
# Bootstraps the root of the Debian image as a tar file. This is the slow part
# (over a minute), so nothing that changes with the agent belongs here.
# rootfs.sh SUITE SOURCES TAR
set -eu
here=$(dirname "$(realpath "$0")")
suite=$1 sources=$2 tar=$3

# Documentation is never read in a VM that lives for one run, and under TCG every
# file that dpkg writes counts. copyright files stay: licenses ask for them.
# unsafe-io: a run whose VM lost its power is lost anyway.
# The lists stay in the image, so that the first apt-get update finds them current.
mode=auto
[ "$(id -u)" != 0 ] || mode=root
set -- --mode="$mode" --variant=minbase --format=tar \
    --skip=cleanup/apt/lists,check/qemu \
    --include="$(tr '\n' ',' <"$here/packages" | sed 's/,$//')" \
    --dpkgopt='force-unsafe-io' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/lintian/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-include=/usr/share/locale/locale.alias' \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='APT::Periodic::Enable "0"' \
    --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::GzipIndexes "false"'

# What this machine needs to use its mirror, the image needs too.
for option in Acquire::Check-Valid-Until Acquire::Check-Date Acquire::http::Proxy; do
    eval "$(apt-config shell value "$option")"
    [ -z "${value:-}" ] || set -- "$@" --aptopt="$option \"$value\""
    unset value
done

# $1 is expanded by mmdebstrap's shell.
# shellcheck disable=SC2016
# gencaches: apt then opens its cache in the VM rather than building it there.
mmdebstrap "$@" \
    --customize-hook='chroot "$1" apt-cache gencaches' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*_key*' \
    "$suite" "$tar.new" "$sources"
mv "$tar.new" "$tar"
