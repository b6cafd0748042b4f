#!/bin/sh
# A tree of its own that the container may write: TREE, owned by root on the host and by the container's root inside. What is
# written inside has the right owner outside: a program too that the container has made set-id, so see to it that only root may
# enter the directory that TREE is in; one that is missing is made so. Unless TREE exists it is made here, of the host's busybox
# (Debian: busybox-static). As root of the host.
set -eu
tree=${TREE:-/var/lib/libctr/tree}                  # no blanks or commas
case $tree in /*) ;; *) tree=$PWD/$tree ;; esac
tree=${tree%/}
export CTR_NAME="${CTR_NAME:-tree}"

if [ ! -e "$tree" ]; then
    busybox=$(command -v busybox) || { echo "$0: there is no busybox" >&2; exit 1; }
    [ -d "${tree%/*}" ] || (umask 077; mkdir -p "${tree%/*}")
    umask 022
    # under its name only when it is complete
    new=$(mktemp -d "$tree.XXXXXX")
    trap 'rm -r "$new"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$new/bin" "$new/dev" "$new/proc" "$new/etc" "$new/root" "$new/tmp"
    cp "$busybox" "$new/bin/busybox"
    for applet in $("$new/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$new/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$new/etc/passwd"
    chmod 755 "$new"
    # another may have been faster
    mv -T "$new" "$tree" 2>/dev/null || [ -d "$tree" ] || { echo "$0: cannot make $tree" >&2; exit 1; }
    trap - HUP INT TERM EXIT
    rm -rf "$new"
fi

export CTR_HOLD="--bind $tree=TREE,nosuid,nodev,idmap=env:NSFD_USER"
export CTR_KEEP=,env:MNTFD_TREE
export CTR_PLAN='env:MNTFD_TREE / fd
none /dev dev
none /dev/pts devpts
none /dev/shm tmpfs mode=1777,nosuid,nodev
none /dev/mqueue mqueue
none /tmp tmpfs mode=1777,nosuid,nodev
none / lock'
exec "$(dirname "$0")/container.sh" "$@"
