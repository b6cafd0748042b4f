#!/bin/sh
# A read-only tree below, the container's changes above: thrown away when it ends, or kept where KEEP names a directory, one for each
# container. The tree (TREE, as separate-tree.sh makes one) belongs to root on the host; inside, all of it belongs to the container's
# root. As root of the host.
set -eu
tree=${TREE:-/var/lib/libctr/tree}                  # no blanks or commas; nor in KEEP
[ -d "$tree" ] || { echo "$0: there is no $tree: separate-tree.sh makes one" >&2; exit 1; }
export CTR_NAME="${CTR_NAME:-overlay}"

export CTR_HOLD="--bind $tree=LOWER,ro,nosuid,nodev,idmap=env:NSFD_USER"
export CTR_KEEP=,env:MNTFD_LOWER
upper='none /upper dir'
if [ -n "${KEEP:-}" ]; then
    # a program that the container makes set-id is so on the host too: only root may enter
    [ -d "$KEEP" ] || (umask 077; mkdir -p "$KEEP")
    CTR_HOLD="$CTR_HOLD --bind $KEEP=UPPER,nosuid,nodev,idmap=env:NSFD_USER"
    CTR_KEEP=$CTR_KEEP,env:MNTFD_UPPER
    upper='env:MNTFD_UPPER /upper fd x-mkdir'
fi

# the layers lie on a tmpfs, which the overlay then covers
export CTR_PLAN="none / tmpfs mode=0755,nosuid,nodev
env:MNTFD_LOWER /lower fd x-mkdir
$upper
none /upper/changes dir
none /upper/work dir
none / overlay lowerdir=/mnt/lower,upperdir=/mnt/upper/changes,workdir=/mnt/upper/work,userxattr,nosuid,nodev
none /dev dev
none /dev/pts devpts
none /tmp tmpfs mode=1777,nosuid,nodev
none / lock"
exec "$(dirname "$0")/container.sh" "$@"
