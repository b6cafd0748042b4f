#!/bin/sh
# Three containers on one bridge, each of which reaches the others and the host. The host is a network namespace made here, so that
# the machine's own stays as it is. As root:
#     bridge.sh [COMMAND [ARG…]]      (in the third container; by default it knocks at the others' doors)
set -eu
here=$(dirname "$0")
for dir in ${TOOLS:-"$here"/../target/*/release}; do PATH=$(cd "$dir" && pwd):$PATH; done
if [ -z "${BRIDGE_HOST:-}" ]; then
    export PATH BRIDGE_HOST=20
    exec nsfd-create --net --fd net=20 -- ns-enter --ns net=fd:20 -- sh "$0" "$@"
fi

# The host is a neighbour too, under the bridge's own address.
net-setup --lo --link br0 --add bridge --up --addr 10.174.0.254/24 --addr fd17:4::fe/64,nodad

# container N COMMAND: its end of the pair has no address on the host, the bridge has
container() {
    n=$1
    shift
    CTR_NAME="bridged$n" CTR_OUTSIDE='--bridge br0' \
        CTR_INSIDE="--addr 10.174.0.$n/24 --addr fd17:4::$n/64,nodad --route default=10.174.0.254 --route default=fd17:4::fe" \
        "$here/container.sh" "$@"
}

# Each waits until the one before it in the pipe ends, and then knocks at the doors of those after it.
knock=$(cat "$here/knock.sh")
[ $# != 0 ] || set -- /bin/sh -c "$knock" knock 'the third' 10.174.0.1 fd17:4::1 10.174.0.2 fd17:4::2 10.174.0.254 fd17:4::fe
container 3 "$@" | container 2 /bin/sh -c "cat; $knock" knock 'the second' 10.174.0.1 fd17:4::1 | container 1 /bin/cat
