#!/bin/sh
# The host's /usr, read-only for good, under a root of the container's own: what container.sh does by itself, with the
# choices spelled out. /etc is predefined, /var and /home begin empty with each start.
set -eu
export CTR_NAME="${CTR_NAME:-host-usr}"
export CTR_PLAN='none / rootfs usr=bind,etc=minimal,var=dir,home=dir,tmp=tmpfs,run=tmpfs,size=64m,lock
none /etc/motd file text=a\040container\040on\040the\040usr\040of\040its\040host\012'
exec "$(dirname "$0")/container.sh" "$@"
