#!/bin/sh
# A container that shares the host's network, whose ports, addresses and abstract unix sockets it uses as any process of an
# ordinary user: its root has no rights over it. As there is no network namespace of its own, it cannot mount a sysfs.
#     host-network.sh [COMMAND [ARG…]]
set -eu
export CTR_NAME="${CTR_NAME:-host-network}" CTR_NETWORK=host
exec "$(dirname "$0")/container.sh" "$@"
