#!/bin/sh
# A tree of its own that the container may write: TREE, owned by root on the host and by the container's root inside. What is
# written inside has the right owner outside. Unless TREE exists it is made here, of the host's busybox (Debian: busybox-static).
set -eu
tree=${TREE:-/var/lib/libctr-tree}
export CTR_NAME="${CTR_NAME:-tree}"

if [ ! -e "$tree" ]; then
    mkdir -p "$tree/bin" "$tree/dev" "$tree/proc" "$tree/etc" "$tree/root" "$tree/tmp"
    cp "$(command -v busybox)" "$tree/bin/busybox"
    for applet in $("$tree/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
fi

export CTR_HOLD="--bind $tree=TREE,nosuid,nodev,idmap=env:NSFD_USER"
export CTR_KEEP=,env:MNTFD_TREE
export CTR_PLAN='env:MNTFD_TREE / fd
none /dev dev
none /dev/pts devpts
none /dev/shm tmpfs mode=1777,nosuid,nodev
none /dev/mqueue mqueue
none /tmp tmpfs mode=1777,nosuid,nodev'
exec "${0%/*}/container.sh" "$@"
