#!/bin/sh
# Knocks at a door of each address until somebody answers; nobody needs to listen, as a refusal is an answer too. Read by routed.sh
# and bridge.sh as the program of their containers:  knock.sh WHO ADDRESS…
who=$1
shift
for address; do
    tries=0
    # shellcheck disable=SC2016  # $0 is bash's
    until timeout 5 bash -c 'echo >"/dev/tcp/$0/9"' "$address" 2>&1 | grep -q refused; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || { echo "$who does not reach $address" >&2; exit 1; }
        sleep 0.1
    done
    echo "$who reaches $address" >&2
done
