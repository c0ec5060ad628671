#!/bin/bash
# The founding tutorial on two virtual machines of this machine: installs what is missing, builds,
# makes the reference image, deploys, shows what happens, and removes everything again.
# NO_INSTALL=1 only tells what would be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
images=${SLIPSTREAM_IMAGE_DIR:-$target/images}
began=$SECONDS
phases=()

say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }

# phase NAME COMMAND...: runs it and notes how long it took.
phase() {
    local name=$1 start=$SECONDS
    shift
    "$@" || return
    phases+=("$(printf '%-36s %5d s' "$name" $((SECONDS - start)))")
}

if [ -n "${NO_INSTALL:-}" ] && [ "$NO_INSTALL" != 0 ]; then
    packaging/install-deps.sh --check-only build vm image && echo "nothing is missing"
    exit
fi

say "1. What this machine needs"
phase "install what is missing" packaging/install-deps.sh build vm image

say "2. Build"
phase "build coordinator and command line" make --no-print-directory build
phase "build the static agent" make --no-print-directory agent

say "3. The Debian reference image (made once, about a minute)"
phase "reference image" make --no-print-directory image

say "4. Two virtual machines, deployed"
work=$target/demo
rm -rf "$work"
mkdir -p "$work"
# A coordinator of its own, whatever this person has configured.
export XDG_CONFIG_HOME=$PWD/$work/config XDG_STATE_HOME=$PWD/$work/state
unset SLIPSTREAM_URL SLIPSTREAM_TOKEN SLIPSTREAM_CA SLIPSTREAM_PROFILE
status=0
phase "deploy, show, remove" "$target/debug/slipstream" up examples/service-testing --down \
    --images "$images" --data "$work/data" || status=$?

if [ "$status" = 0 ]; then
    say "Time of each phase"
    printf '  %s\n' "${phases[@]}"
    printf '  %-36s %5d s\n' "together" $((SECONDS - began))
    cat <<END

To look further:
  examples/service-testing/                       the four module files that were deployed
  $target/debug/slipstream up examples/service-testing --images $images
                                                  the same again, and it stays until Ctrl-C:
                                                  then, elsewhere, slipstream run show, run logs, ssh
  make dev                                        the same as plain processes, in seconds
  docs/architecture.md                            how it works
END
fi
exit "$status"
