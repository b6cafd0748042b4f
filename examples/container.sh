#!/bin/sh
# A container in seven steps: copy this file, edit the variables, add or leave out steps. As root, or as a user who has
# subordinate ids and newuidmap(1), then without a veth:
#     container.sh [COMMAND [ARG…]]       (without a command: a shell, or a report where stdin is no terminal)
# Each tool does one step and becomes the next program; `TOOL --help` says what else it can do.
set -eu

# What the container is ---------------------------------------------------------------------------------------------
# (the other examples set some of it from outside, through CTR_*)
name=${CTR_NAME:-box}                       # its host name
ids=${CTR_IDS:-0:100000:65536}              # INSIDE:OUTSIDE:COUNT, of users and of groups; 0 inside
network=${CTR_NETWORK:-veth}                # veth, none (loopback only) or host (the host's own)
link=${CTR_LINK:-ve-$name}                  # the host's end of the veth; the container's is eth0
net=${CTR_NET:-0}                           # 0 to 255, another for each container
host4=10.173.$net.1 host6=fd17:3:$net::1    # the host's addresses on the veth
own4=10.173.$net.2 own6=fd17:3:$net::2      # the container's
outside=${CTR_OUTSIDE:---host-addr $host4/24 --host-addr $host6/64}     # see veth-create --help
inside=${CTR_INSIDE:---addr $own4/24 --addr $own6/64,nodad --route default=$host4 --route default=$host6}   # net-setup --help
hold=${CTR_HOLD:-}                          # what mntfd-create is to open on the host, and (with commas before) to keep open:
keep=${CTR_KEEP:-}                          #   --image FILE=APP  and  ,env:MNTFD_APP
plan=${CTR_PLAN:-none / rootfs usr=bind,etc=minimal}    # its root file system, see mount-setup --help
init=/bin/sh                                # what runs in it if no command is given and stdin is a terminal
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# The script runs itself again between the steps, through descriptor 8, and finds the tools through descriptor 9: both
# are open before step 3, after which the directories that hold them may be out of reach.
self=/proc/self/fd/8
if [ "$0" = "$self" ]; then step=$1; shift; else step=1; fi
case $network in host) own_net= ;; *) own_net=yes ;; esac

case $step in
1)  for dir in ${TOOLS:-"$(dirname "$0")"/../target/*/release}; do
        [ ! -x "$dir/nsfd-create" ] || exec 9<"$dir"
    done
    exec 8<"$0"
    PATH=/proc/self/fd/9:$PATH
    if [ $# = 0 ] && [ -t 0 ]; then
        set -- "$init"
    elif [ $# = 0 ]; then
        exec <"$(dirname "$0")/report.sh"
        set -- /bin/sh -s -- "$(readlink /proc/self/ns/* | tr '\n' ' ')"
    fi
    groups=
    if [ "$(id -u)" != 0 ]; then
        if [ "$network" = veth ]; then
            echo "container.sh: a veth needs root of the host: loopback only" >&2
            export CTR_NETWORK=none
        fi
        ids=${CTR_IDS:-subid}
        # the caller's groups do not come in: a file that is denied to one of them is no longer denied
        case $ids in root) ;; *) groups=allow ;; esac
    fi
    # 1. A user and a network namespace, held by the descriptors that NSFD_USER and NSFD_NET name.
    exec nsfd-create --user ${own_net:+--net} --uid-map "$ids" --gid-map "$ids" ${groups:+--setgroups "$groups"} -- sh "$self" 2 "$@" ;;

2)  # 2. A veth pair; the peer is born in the new network namespace.
    # shellcheck disable=SC2086  # several words, here and below
    [ "$network" != veth ] ||
        veth-create --host "$link" --peer eth0 --netns env:NSFD_NET --up $outside
    # 3. Enter both namespaces, as their root.  4. Close every descriptor that is not wanted.
    # 5. Make the other namespaces.
    # shellcheck disable=SC2086
    exec ${hold:+mntfd-create $hold --} \
         ns-enter --ns "user${own_net:+,net}" -- \
         close-fds --keep "8,9$keep" -- \
         ns-enter --new ipc,cgroup,mnt,uts --hostname "$name" -- sh "$self" 6 "$@" ;;

6)  # 6. The network as seen from inside; the mounts, below /mnt, which no other process sees.
    # shellcheck disable=SC2086
    case $network in
    veth) net-setup --lo --link eth0 --up $inside ;;
    none) net-setup --lo ;;
    esac
    printf "%s\n" "$plan" | mount-setup --root /mnt --plan -
    # 7. /mnt becomes the root, a new pid namespace begins, and so does the program, as process 1.
    #    At a terminal it gets one of its own. (--mask-proc hides more of /proc; no container can run in this one then.)
    tty=
    if [ -t 0 ] && [ -t 1 ]; then tty=yes; fi
    exec pivot-init --root /mnt ${tty:+--tty} --clear-env --env PATH="$path" --env HOME=/root --env TERM="${TERM:-dumb}" -- "$@" ;;
esac
