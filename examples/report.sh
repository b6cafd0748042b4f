#!/bin/sh
# What a container looks like from inside; read by container.sh as the program of a container that was given no other.
# The argument is the host's namespaces, as readlink(1) shows them.
echo "ids:            $(id)"
echo "user map:       $(tr -s ' ' </proc/self/uid_map)"
echo "host name:      $(uname -n)"
echo "process 1:      $(cat /proc/1/comm)"
own=
for file in /proc/self/ns/*; do
    case ${file##*/} in *_for_children) continue ;; esac
    case " $1 " in *" $(readlink "$file") "*) ;; *) own="$own ${file##*/}" ;; esac
done
echo "own namespaces:$own"
echo "addresses:"
awk '/\|--/ { address = $2 } /\/32 host LOCAL/ && !seen[address]++ { print "    " address }' /proc/net/fib_trie
awk '{ gsub(/..../, "&:", $1); sub(/:$/, "", $1); print "    " $1 " on " $6 }' /proc/net/if_inet6
echo "routes (hexadecimal):"
awk 'NR > 1 { print "    " $2 "/" $8 " via " $3 " dev " $1 }' /proc/net/route
awk '$10 != "lo" { print "    " $1 "/" $2 " via " $5 " dev " $10 }' /proc/net/ipv6_route
echo "mounts:"
awk '{ print "    " $5 " " $6 }' /proc/self/mountinfo
echo "descriptors of process 1:"
for file in /proc/1/fd/*; do
    echo "    ${file##*/} -> $(readlink "$file")"
done
