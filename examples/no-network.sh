#!/bin/sh
# A container without a network: a loopback interface of its own, and nothing else. Nobody's rights are needed for that but one's own.
#     no-network.sh [COMMAND [ARG…]]
set -eu
export CTR_NAME="${CTR_NAME:-no-network}" CTR_NETWORK=none
exec "$(dirname "$0")/container.sh" "$@"
