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
awk '/\|--/ { address = $2 } /host LOCAL/ && !seen[address]++ { print "    " address }' /proc/net/fib_trie
awk '{ address = $1; gsub(/..../, "&:", address); print "    " substr(address, 1, 39) "/" ("0x" $3) + 0 " " $6 }' /proc/net/if_inet6
echo "routes:"
awk 'NR > 1 { print "    " $1 " destination " $2 " gateway " $3 }' /proc/net/route
echo "mounts:"
awk '{ print "    " $5 " " $6 }' /proc/self/mountinfo
echo "descriptors:"
for file in /proc/$$/fd/*; do
    echo "    ${file##*/} -> $(readlink "$file")"
done
