#!/bin/sh
# Addresses of the container's own, without translation: a /29 and a /64 that the internet sends to the host, which forwards them.
# The host and the internet are network namespaces made here, so that those of the machine stay as they are. As root:
#     routed.sh [COMMAND [ARG…]]      (without a command: each side knocks at the other's door)
set -eu
here=$(dirname "$0")
for dir in ${TOOLS:-"$here"/../target/*/release}; do PATH=$(cd "$dir" && pwd):$PATH; done
if [ -z "${ROUTED_HOST:-}" ]; then
    export PATH ROUTED_HOST=20
    exec nsfd-create --net --fd net=20 -- nsfd-create --net --fd net=21 -- ns-enter --ns net=fd:20 -- sh "$0" "$@"
fi

# The internet knows the way to both prefixes, the host forwards: from the internet, and from the container (--forward below).
# Before Linux 6.17 it forwards IPv6 from every link or from none.
[ -e /proc/sys/net/ipv6/conf/lo/force_forwarding ] || net-setup --sysctl net.ipv6.conf.all.forwarding=1
veth-create --host up0 --peer wan0 --netns fd:21 --up --forward \
    --host-addr 198.51.100.2/24 --host-addr 2001:db8:ffff::2/64
net-setup --netns fd:21 --lo --link wan0 --addr 198.51.100.1/24 --addr 2001:db8:ffff::1/64,nodad \
    --route 203.0.113.8/29=198.51.100.2 --route 2001:db8:113::/64=2001:db8:ffff::2
net-setup --lo --route default=198.51.100.1 --route default=2001:db8:ffff::1

# The host needs no address of the container's networks: it is known by its link-local one, for IPv4 too.
export CTR_NAME=routed
export CTR_OUTSIDE='--forward --host-addr fe80::1/64 --route 203.0.113.8/29 --route 2001:db8:113::/64'
export CTR_INSIDE='--addr 203.0.113.9/29 --addr 203.0.113.10/29 --addr 2001:db8:113::9/64,nodad
    --route 0.0.0.0/0=fe80::1 --route ::/0=fe80::1'
[ $# = 0 ] || exec "$here/container.sh" "$@"

# The container ends when its standard input does.
knock=$(cat "$here/knock.sh")
ns-enter --ns net=fd:21 -- sh -c "$knock" knock 'the internet' 203.0.113.9 203.0.113.10 2001:db8:113::9 |
    "$here/container.sh" /bin/sh -c "$knock; cat" knock 'the container' 198.51.100.1 2001:db8:ffff::1
