#!/bin/sh
# A container in a container in a container: the template, run again inside what it made. Root of each has rights over the ids
# of the one around it, and none over the host's. As root:
#     nested.sh [DEPTH [COMMAND [ARG…]]]      (without a command: what each one's map is)
set -eu
depth=${1:-3}
[ $# = 0 ] || shift

here=$(dirname "$0")
for dir in ${TOOLS:-"$here"/../target/*/release}; do tools=$dir; done
[ $# != 0 ] || set -- /bin/cat /proc/self/uid_map

# what is inside is numbered from inside: the host gives 65,536 ids, each container a part of its own
case $depth in
1)  ids=0:1000:10000 ;;
2)  ids=0:1000:20000 ;;
*)  ids=0:100000:65536 ;;
esac
if [ "$depth" != 1 ]; then
    echo "container $depth has $ids" >&2
    set -- /bin/sh -c 'TOOLS=/opt/tools exec /opt/examples/nested.sh "$@"' sh $((depth - 1)) "$@"
fi

# the tools and this script go in as detached mounts, held by descriptor
export CTR_NAME="deep$depth" CTR_IDS="${CTR_IDS:-$ids}" CTR_NET="$depth" \
    CTR_HOLD="--bind $tools=TOOLS,ro --bind $here=EXAMPLES,ro" CTR_KEEP=,env:MNTFD_TOOLS,env:MNTFD_EXAMPLES \
    CTR_PLAN="none / rootfs usr=bind,etc=minimal
env:MNTFD_TOOLS /opt/tools fd x-mkdir
env:MNTFD_EXAMPLES /opt/examples fd x-mkdir"
exec "$here/container.sh" "$@"
