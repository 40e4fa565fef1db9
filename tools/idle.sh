#!/bin/sh
# Measures how idle an idle bazaar is: ten peers that want nothing. Prints the share of a core that each process took
# over a minute, and its resident memory. Each should stay below 1 % and 15 MB.
#
#   cargo build --release && tools/idle.sh [SECONDS] [BAZAAR]
set -eu
seconds=${1:-60}
bazaar=${2:-target/release/bazaar}
home=$(mktemp -d)
printf 'peers = 10\nseed = 7\n[waits]\nthink = "never"\n' > "$home/idle.toml"
"$bazaar" run --quiet --config "$home/idle.toml" --dir "$home/run" > "$home/summary" &
run=$!
trap 'kill "$run" 2>/dev/null || true; wait "$run" || true; rm -rf "$home"' EXIT
# Long enough for the first trader to take office and the sellers to deposit.
sleep 10
pids="$run"
for file in "$home"/run/ledger/pid "$home"/run/peer-*/pid; do pids="$pids $(cat "$file")"; done
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
for pid in $pids; do eval "before_$pid=$(ticks "$pid")"; done
sleep "$seconds"
hertz=$(getconf CLK_TCK)
printf '%-8s %8s %8s  %s\n' pid '% core' 'MB' process
for pid in $pids; do
    eval "before=\$before_$pid"
    now=$(ticks "$pid")
    memory=$(awk '/VmRSS/ { print $2 / 1024 }' "/proc/$pid/status")
    name=$(tr '\0' ' ' < "/proc/$pid/cmdline" | awk '{ print $2, ($3 == "--id" ? $4 : "") }')
    awk -v p="$pid" -v t="$((now - before))" -v h="$hertz" -v s="$seconds" -v m="$memory" -v n="$name" \
        'BEGIN { printf "%-8s %8.2f %8.1f  %s\n", p, 100 * t / h / s, m, n }'
done
