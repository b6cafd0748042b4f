#!/bin/sh
# A read-only image, which any number of containers share; /etc is predefined, /var persistent, /tmp a tmpfs.
# The image is made here, of the host's busybox (Debian: busybox-static, squashfs-tools), unless STATE has one already.
#     CTR_NAME=a CTR_NET=1 squashfs.sh &  CTR_NAME=b CTR_NET=2 squashfs.sh
# As root of the host.
set -eu
state=${STATE:-/var/lib/libctr/squashfs}            # no blanks or commas
export CTR_NAME="${CTR_NAME:-squashfs}"
case $CTR_NAME in */* | .*) echo "$0: $CTR_NAME is no name" >&2; exit 2 ;; esac

# only root may enter: a program in /var that the container makes set-id is so on the host too
[ -d "$state" ] || (umask 077; mkdir -p "$state")
umask 022
mkdir -p "$state/var-$CTR_NAME"
if [ ! -e "$state/app.squashfs" ]; then
    busybox=$(command -v busybox) || { echo "$0: there is no busybox" >&2; exit 1; }
    tree=$(mktemp -d)
    trap 'rm -rf "$tree" "$state/app.$$"' EXIT
    trap 'exit 1' HUP INT TERM
    chmod 755 "$tree"
    mkdir "$tree/bin" "$tree/sbin" "$tree/lib"
    cp "$busybox" "$tree/bin/busybox"
    for applet in $("$tree/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
    done
    mksquashfs "$tree" "$state/app.$$" -all-root -noappend -quiet -no-progress
    mv "$state/app.$$" "$state/app.squashfs"
    trap - HUP INT TERM EXIT
    rm -r "$tree"
fi

# /var belongs to root on the host, and to the container's root inside
export CTR_HOLD="--image $state/app.squashfs=APP --bind $state/var-$CTR_NAME=VAR,idmap=env:NSFD_USER"
export CTR_KEEP=,env:MNTFD_APP,env:MNTFD_VAR
export CTR_PLAN='none / rootfs usr=fd:APP,etc=minimal,var=fd:VAR,tmp=tmpfs'
exec "$(dirname "$0")/container.sh" "$@"
