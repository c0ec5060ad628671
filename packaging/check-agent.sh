#!/bin/sh
# Checks that an agent is what images need: static, small, and free of calls that reach NSS, which
# a static glibc cannot serve (they crash, or silently find nothing).
set -eu
agent=$1
limit=4194304

fail() { echo "check-agent: $agent: $1" >&2; exit 1; }

if readelf -l "$agent" | grep -q INTERP; then fail "it needs a dynamic loader"; fi
size=$(stat -c %s "$agent")
[ "$size" -le "$limit" ] || fail "$size bytes, the budget is $limit"
"$agent" --version >/dev/null || fail "it does not run here"
echo "agent: $agent, $size bytes, static"
