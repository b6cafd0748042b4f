#!/bin/sh
# A container in seven steps: copy this file, edit the variables, add or leave out steps. As root:
#     container.sh [COMMAND [ARG…]]       (without a command: a shell, or a report where stdin is no terminal)
# Each tool does one step and becomes the next program; `TOOL --help` says what else it can do.
set -eu

# What the container is ---------------------------------------------------------------------------------------------
name=box                            # its host name
ids=0:100000:65536                  # INSIDE:OUTSIDE:COUNT, of users and of groups
link=ve-$name                       # the host's end of the veth; the container's is eth0
host4=10.173.0.1 host6=fd17:3::1    # the host's addresses on it
own4=10.173.0.2 own6=fd17:3::2      # the container's
root='usr=bind,etc=minimal'         # its root file system, `man 5 mount-plan` has more
init=/bin/sh                        # what runs in it if no command is given and stdin is a terminal
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin

# The script runs itself again between the steps, through descriptor 8, and finds the tools through descriptor 9: both
# are open before step 3, after which the directories that hold them may be out of reach.
self=/proc/self/fd/8
if [ "$0" = "$self" ]; then step=$1; shift; else step=1; fi

case $step in
1)  for dir in ${TOOLS:-"${0%/*}"/../target/*/release}; do
        [ ! -x "$dir/nsfd-create" ] || exec 9<"$dir"
    done
    exec 8<"$0"
    PATH=/proc/self/fd/9:$PATH
    if [ $# = 0 ] && [ -t 0 ]; then
        set -- "$init"
    elif [ $# = 0 ]; then
        exec <"${0%/*}/report.sh"
        set -- /bin/sh -s -- "$(readlink /proc/self/ns/* | tr '\n' ' ')"
    fi
    # 1. A user and a network namespace, held by the descriptors that NSFD_USER and NSFD_NET name.
    exec nsfd-create --user --net --uid-map "$ids" --gid-map "$ids" -- sh "$self" 2 "$@" ;;

2)  # 2. A veth pair; the peer is born in the new network namespace.
    veth-create --host "$link" --peer eth0 --netns env:NSFD_NET --up \
        --host-addr "$host4/24" --host-addr "$host6/64"
    # 3. Enter both namespaces, as their root.  4. Close every descriptor that is not wanted.
    # 5. Make the other namespaces.
    exec ns-enter --ns user,net -- \
         close-fds --keep 8,9 -- \
         ns-enter --new ipc,cgroup,mnt,uts --hostname "$name" -- sh "$self" 6 "$@" ;;

6)  # 6. The network as seen from inside; the mounts, below /mnt, which no other process sees.
    net-setup --lo --link eth0 --up --addr "$own4/24" --addr "$own6/64,nodad" \
        --route "default=$host4" --route "default=$host6"
    mount-setup --root /mnt -e "none / rootfs $root"
    # 7. /mnt becomes the root, a new pid namespace begins, and so does the program, as process 1.
    exec pivot-init --root /mnt --clear-env --env PATH="$path" --env HOME=/root --env TERM="${TERM:-dumb}" -- "$@" ;;
esac
