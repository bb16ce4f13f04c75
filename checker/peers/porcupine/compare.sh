#!/bin/sh
# Generates histories, judges each with Porcupine and with this checker, and
# prints a table of both. Needs cargo and Go. Usage: compare.sh [SECONDS]
#
# SECONDS is the time that Porcupine is given for each history (60). Memory is
# what the process grew by from the history in memory to its peak.
set -eu

seconds=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$here" && go build -o "$work/porcupine" .)
cargo build --quiet --release --manifest-path "$here/../../Cargo.toml" --example peers
target=${CARGO_TARGET_DIR:-"$here/../../../target"}
ours="$target/release/examples/peers"

echo "| history | operations | Porcupine | ours | time ratio | memory, Porcupine | memory, ours |"
echo "|---|---|---|---|---|---|---|"

# row TITLE SHAPE OPERATIONS CLIENTS
row() {
    "$ours" generate "$2" "$3" "$4" "$work/history.jsonl"
    "$ours" judge "$work/history.jsonl" > "$work/ours"
    "$work/porcupine" "$work/history.jsonl" "$seconds" > "$work/theirs"
    awk -F '\t' -v title="$1" '
        function mib(kib) { return sprintf("%.1f MiB", kib / 1024) }
        NR == 1 { verdict = $2; time = $3; memory = $4 - $5; next }
        {
            ratio = sprintf("%s%.0f", $2 == "unknown" ? "> " : "", $3 / time)
            printf "| %s | %d | %s, %.3f s | %s, %.4f s | %s | %s | %s |\n", title, $1,
                $2, $3, verdict, time, ratio, mib($4 - $5), mib(memory)
            if ($2 != "unknown" && $2 != verdict) { print "THE VERDICTS DIFFER"; exit 1 }
        }
    ' "$work/ours" "$work/theirs"
}

row "unique values, 5 clients" unique 100000 5
row "unique values, 20 clients" unique 10000 20
row "unique values, 100 clients" unique 1000000 100
row "cas, 1 % unknown, 10 clients" cas 20000 10
row "cas, 1 % unknown, 10 clients" cas 1000000 10
row "cas, many unknown, 10 clients" lost 5000 10
row "five values, 10 clients" five 100000 10
row "one stale read, 5 clients" stale 100000 5
