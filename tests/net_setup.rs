//! What net-setup and veth-create do to links, addresses, routes, rules and settings, as iproute2 shows it, and that what fails leaves
//! all of it as it was.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use common::arena;

#[test]
fn addresses_have_their_attributes() {
    let run = arena(
        "nsfd-create -n -- ns-enter --ns net -- sh -c 'net-setup --lo --link br0 --add bridge --up --addr 10.0.0.1/32,peer=10.0.0.2,scope=link \
           --addr 10.1.0.1/24,broadcast=none --addr 10.2.0.1/24,broadcast=10.2.0.200 --addr 2001:db8::1/64,nodad,lifetime=3600:1800; \
         ip -o -4 addr show br0 | cut -d\" \" -f7-; ip -o -6 addr show br0 scope global | grep -oE \"nodad|valid_lft (3600|3599)sec preferred_lft (1800|1799)sec\"'",
    );
    let lines: Vec<&str> = run.stdout.lines().map(|line| line.split('\\').next().unwrap().trim()).collect();
    assert_eq!(
        lines[..3],
        [
            "10.0.0.1 peer 10.0.0.2/32 scope link br0",
            "10.1.0.1/24 scope global br0",
            "10.2.0.1/24 brd 10.2.0.200 scope global br0"
        ],
        "{} {}",
        run.stdout,
        run.stderr
    );
    assert_eq!(lines.len(), 5, "{}", run.stdout);
}

#[test]
fn rules_neighbours_dead_ends_and_ports() {
    let run = arena(
        "nsfd-create -n -- ns-enter --ns net -- sh -c 'net-setup --lo --rule from=10.9.0.0/16,priority=70,table=77 --rule inet6,fwmark=0x1/0xff,priority=71,blackhole \
           --route 10.66.0.0/16=blackhole --route 2001:db8:66::/48=unreachable,metric=9 --route 10.67.0.0/16=prohibit,table=77 \
           --link br0 --add bridge --up --addr 10.0.0.1/24 --neigh 10.0.0.9=02:00:00:00:00:09 --proxy 10.0.0.8 \
           --link t0 --add tap,user=12345,multi_queue --master br0 --port isolated=on,learning=off,hairpin=on,cost=77 && \
         ip rule show priority 70; ip -6 rule show priority 71; ip route show type blackhole; ip -6 route show type unreachable | cut -d\" \" -f1-6; \
         ip route show table 77; ip neigh show; ip neigh show proxy; ip -d link show t0 | grep -oE \"isolated on|learning off|hairpin on|cost 77|user 12345|persist on\"; \
         net-setup --link t0 --port isolated=off,cost=5; ip -d link show t0 | grep -oE \"isolated off|cost 5 \"; \
         net-setup --link t0 --port isolated=on --link none --up; ip -d link show t0 | grep -oE \"isolated off\"'",
    );
    let text = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "70: from 10.9.0.0/16 lookup 77",
        "71: from all fwmark 0x1/0xff blackhole",
        "blackhole 10.66.0.0/16",
        "unreachable 2001:db8:66::/48 dev lo metric 9",
        "prohibit 10.67.0.0/16",
        "10.0.0.9 dev br0 lladdr 02:00:00:00:00:09 PERMANENT",
        "10.0.0.8 dev br0 proxy",
        "cost 5 isolated off isolated off",
    ] {
        assert!(text.contains(expected), "{expected}: {text} {}", run.stderr);
    }
    for expected in ["isolated on", "learning off", "hairpin on", "cost 77", "user 12345", "persist on"] {
        assert!(text.contains(expected), "{expected}: {text} {}", run.stderr);
    }
}

#[test]
fn links_are_born_in_or_moved_to_another_namespace() {
    let run = arena(
        "nsfd-create -n --fd net=20 -- nsfd-create -n --fd net=21 -- ns-enter --ns net=fd:20 -- sh -c '\
         net-setup --link br0 --add bridge --up; net-setup --link mv0 --add macvlan,parent=br0 --into fd:21 --link mt0 --add macvtap,parent=br0 --into fd:21; \
           net-setup --link vx0 --add vxlan,id=5,remote=192.0.2.1; net-setup --link vx0 --into fd:21 --rename vx1 --mtu 1400; \
         ip -o link | cut -d: -f2 | tr -d \" \\n\"; echo; ns-enter --ns net=fd:21 -- ip -o link | cut -d: -f2 | cut -d@ -f1 | tr -d \" \\n\"; echo; \
         ns-enter --ns net=fd:21 -- ip -o link show vx1 | grep -o \"mtu 1400\"; \
         net-setup --link mv1 --add macvlan,parent=br0 --into fd:21 --link br1 --add bridge --link mv0 --add macvlan,parent=br0 --into fd:21; \
         ip -o link | wc -l; ns-enter --ns net=fd:21 -- ip -o link | wc -l; net-setup --link br0 --into fd:21; \
         net-setup --link x0 --add ifb --into fd:21 --up; net-setup --link x0 --add tun --into fd:21'",
    );
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "lobr0", "{} {}", run.stdout, run.stderr);
    let mut there: Vec<&str> = vec!["lo", "mv0", "mt0", "vx1"];
    there.retain(|name| !lines[1].contains(name));
    assert!(there.is_empty() && lines[1].len() == 11, "{}", lines[1]);
    assert_eq!(lines[2..], ["mtu 1400", "2", "4"], "{}", run.stderr);
    for message in [
        "net-setup: create link mv0 of kind macvlan: File exists (EEXIST)",
        "net-setup: move link br0 to the other network namespace: ",
        "option --up: is for the network namespace that has the link: net-setup --netns NSREF",
        "a tun or tap device is made in the network namespace it is in",
    ] {
        assert!(run.stderr.contains(message), "{message}: {}", run.stderr);
    }
}

#[test]
fn kinds_that_the_kernel_lacks_have_its_reason_and_the_others_are_there() {
    for kind in [
        "bridge",
        "ifb",
        "macvlan,parent=lo",
        "macvtap,parent=lo",
        "vxlan,id=7",
        "tun",
        "tap",
        "dummy",
        "ipvlan,parent=lo",
        "vlan,parent=lo,id=5",
        "vrf,table=5",
        "wireguard",
    ] {
        let run = arena(&format!(
            "nsfd-create -n -- ns-enter --ns net -- sh -c 'net-setup --link l0 --add {kind}; ip -o link show l0 2>/dev/null | wc -l'"
        ));
        if run.stdout == "1\n" {
            assert_eq!(run.stderr, "", "{kind}");
            continue;
        }
        let name = kind.split(',').next().unwrap();
        // a parent that cannot have children says so; a kind that is missing is unknown to the kernel
        let expected = [
            format!(
                "net-setup: create link l0 of kind {name}: Operation not supported: Unknown device type (EOPNOTSUPP)"
            ),
            format!("net-setup: create link l0 of kind {name}: Invalid argument (EINVAL)"),
        ];
        assert!(expected.iter().any(|line| run.stderr.starts_with(line.as_str())), "{kind}: {}", run.stderr);
    }
}

#[test]
fn what_fails_leaves_links_addresses_and_routes_as_they_were() {
    // a bridge without ports loses its carrier a moment after it was made
    let view = "(ip link; ip addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; ip neigh; ip neigh show proxy) | sed -E \"s/valid_lft.*|NO-CARRIER,|,LOWER_UP| linkdown|state [A-Z]+//g\"";
    for wrong in [
        "net-setup --link b1 --add bridge --addr 10.9.0.1/24 --up --route default=10.9.0.2 --route 10.0.0.0/8=192.0.2.1",
        "net-setup --link b0 --mtu 1300 --mac 02:00:00:00:00:77 --rename b9 --addr 10.9.0.1/24 --neigh 10.9.0.9=02:00:00:00:00:09 --addr 10.1.0.1/24",
        "net-setup --link b0 --down --up; net-setup --link b0 --arp off --link b1 --up",
        "net-setup --rule priority=5,table=9 --rule priority=6,table=9 --rule priority=5,table=9",
        "net-setup --link b1 --add tap --master b0 --port isolated=on --up --link b2 --add bridge --mtu 99999999",
        "net-setup --sysctl net.ipv4.ip_forward=1 --link b0 --addr 10.1.0.1/24",
        "veth-create --host v0 --peer b0 --netns /proc/self/ns/net --up",
        "veth-create --host b0 --peer eth0 --netns fd:21",
        "veth-create --host v0 --peer lo --netns fd:21 --host-addr 10.9.0.1/24 --up",
        "veth-create --host v0 --peer eth0 --netns fd:21 --host-addr 10.9.0.1/24 --up --route 10.1.0.0/24 --bridge b0 --forward",
        "veth-create --host v0 --peer eth0 --netns fd:21 --mtu 100 --host-addr 2001:db8::1/64 --up",
    ] {
        let run = arena(&format!(
            "export view='{view}'; nsfd-create -n --fd net=20 -- nsfd-create -n --fd net=21 -- ns-enter --ns net=fd:20 -- sh -c '\
             net-setup --lo --link b0 --add bridge --up --addr 10.1.0.1/24; \
             ip addr flush dev b0 scope link; v() {{ eval \"$view\"; ns-enter --ns net=fd:21 -- sh -c \"$view\"; sysctl -n net.ipv4.ip_forward; }}; v >/tmp/before 2>&1; {wrong} && echo WORKED; \
             v >/tmp/after 2>&1; diff /tmp/before /tmp/after && wc -l </tmp/after'; rm /tmp/before /tmp/after"
        ));
        assert!(
            run.stdout.trim().parse::<u32>().is_ok_and(|lines| lines > 20),
            "{wrong}: {} {}",
            run.stdout,
            run.stderr
        );
    }
}

#[test]
fn killed_at_any_moment_veth_create_leaves_both_ends_or_none() {
    let run = arena(
        "nsfd-create -n --fd net=21 -- sh -c 'for i in $(seq 60); do \
           timeout -s KILL 0.00$((i / 10))$((i % 10)) veth-create --host v0 --peer eth0 --netns fd:21 --host-addr 10.9.0.1/24 --up 2>/dev/null; \
           a=$(ip -o link show v0 2>/dev/null | wc -l); b=$(ns-enter --ns net=fd:21 -- ip -o link show eth0 2>/dev/null | wc -l); \
           [ $a = $b ] || echo HALF; [ $a = 0 ] || ip link del v0; done; echo end'",
    );
    assert_eq!(run.words().last(), Some(&"end"), "{}", run.stderr);
    assert!(!run.stdout.contains("HALF"), "{}", run.stdout);
}

/// A host in use, what one sees of it, and a route that fails at the end of what goes before it.
const HOST: &str = r#"
    view() {
        { ip link; ip addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; ip neigh show nud permanent
          ip -6 neigh show nud permanent; ip neigh show proxy; ip -6 neigh show proxy; bridge -d link
          for f in /proc/sys/net/ipv[46]/conf/*/*forwarding /proc/sys/net/ipv4/conf/all/accept_redirects /proc/sys/net/ipv4/tcp_rmem \
              /proc/sys/net/ipv4/ip_local_reserved_ports; do echo "$f $(cat $f)"; done
          # a bridge without ports loses its carrier a moment after it was made; a qdisc stays once a link was up
        } | sed -E 's/NO-CARRIER,|,LOWER_UP| linkdown| state [A-Z]+| qdisc [a-z]+|[a-z_]*timer +[0-9.]+//g' | sort
    }
    # the kernel makes the routes of an IPv6 address a moment after it
    same() {
        for try in $(seq 50); do view >/run/after.txt; cmp -s /run/before.txt /run/after.txt && return; sleep 0.2; done
        diff /run/before.txt /run/after.txt
    }
    ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
    ip addr add 10.1.0.1/24 dev v0; ip addr add 2001:db8::1/64 dev v0 nodad; ip addr add 2001:db8:1::1/64 dev v0
    ip route add 10.5.0.0/16 via 10.1.0.2; ip -6 route add 2001:db8:5::/48 via 2001:db8::2
    ip route add 10.6.0.0/16 via 10.1.0.2 dev v0 table 77; ip -6 route add 2001:db8:6::/48 dev v0 metric 512
    ip route add 10.8.0.0/16 nexthop via 10.1.0.2 weight 2 nexthop via 10.1.0.3
    for ip in 10.1.0.9 2001:db8::9; do ip neigh add $ip lladdr 02:00:00:00:00:09 dev v0 nud permanent; done
    ip neigh add proxy 10.1.0.77 dev v0; ip -6 neigh add proxy 2001:db8::77 dev v0
    ip link add mv0 link v0 type macvlan mode bridge; ip link set mv0 up; ip addr add 2001:db8:c::1/64 dev mv0 nodad
    for b in b0 b1; do ip link add $b type bridge; ip link set $b up; done
    ip link add p0 type veth peer name p1; ip link set p0 master b0; ip link set p0 up; ip link set p1 up
    bridge link set dev p0 hairpin on cost 77 learning off
    ip addr add 10.2.0.1/24 dev b0; ip neigh add 10.2.0.9 lladdr 02:00:00:00:00:09 dev b0 nud permanent
    ip link add d0 type veth peer name d1; ip addr add 2001:db8:d::1/64 dev d0; ip neigh add 10.3.0.9 lladdr 02:00:00:00:00:09 dev d0 nud permanent
    touch /run/x /run/y
    unshare -n sh -c 'mount --bind /proc/self/ns/net /run/x; for i in 1 2 3 4 5 6 7 8 9; do ip link add s$i type bridge; done'
    unshare -n sh -c 'mount --bind /proc/self/ns/net /run/y; ip link add v0 type bridge'
    ip rule add pref 10 iif lo lookup 100; sysctl -qw net.ipv6.conf.v1.addr_gen_mode=1
    while ip -6 addr show up | grep -q tentative; do sleep 0.1; done
    ip -6 addr flush dev v1
    BAD='--route 10.99.0.0/16=203.0.113.1,dev=v0'
"#;

/// Runs a script on that host, in a network namespace of its own.
fn on_a_used_host(script: &str) -> common::Run {
    arena(&format!(
        "unshare -n sh -s <<'END'\n{HOST}\n{script}\nEND\numount /run/x /run/y; rm -f /run/x /run/y /run/before.txt /run/after.txt /run/said"
    ))
}

#[test]
fn a_host_in_use_is_as_before_after_a_late_failure() {
    let run = on_a_used_host(
        r#"
        view >/run/before.txt; wc -l </run/before.txt
        while read -r args; do
            eval "$args" >/run/said 2>&1 && echo "WORKED: $args"
            same >>/run/said || { echo "DIFFERS: $args"; cat /run/said; view >/run/before.txt; }
            grep -q hint: /run/said && { echo "HINT: $args"; cat /run/said; }
        done <<LIST
        net-setup --route 2001:db8:6::/48,dev=v0 $BAD
        net-setup --link v0 --proxy 10.1.0.77 --proxy 2001:db8::77 --proxy 10.1.0.78 --link d0 --up $BAD --link gone --up
        net-setup --link v0 --proxy 10.1.0.77 --proxy 2001:db8::77 --neigh 10.1.0.9=02:00:00:00:00:01
        net-setup --link v0 --mtu 1000 $BAD
        net-setup --link mv0 --mtu 1000 $BAD
        net-setup --link d0 --up $BAD
        net-setup --link v0 --mac 02:00:00:00:00:55 $BAD
        net-setup --link v0 --arp off $BAD
        net-setup --link v0 --mtu 7 --arp off
        net-setup --link v0 --down $BAD
        net-setup --link b0 --down $BAD
        net-setup --sysctl net.ipv4.ip_forward=1 --sysctl net.ipv6.conf.p0.forwarding=1 --link d0 --up --link p0 --mac 02:00:00:00:00:56 $BAD
        net-setup --lo $BAD
        net-setup --rule priority=10,table=100 --rule priority=10,table=100
        net-setup --rule table=100 --rule inet6,from=2001:db8::/32,table=100 --link d0 --up --link v0 --into /run/y
        net-setup --link p0 --master b1 $BAD
        net-setup --link p0 --nomaster $BAD
        net-setup --link p0 --port cost=5,hairpin=off $BAD
        net-setup --link p0 --mac 00:00:00:00:00:01 $BAD
        net-setup --link v0 --into /run/x --link gone --into /run/x
        net-setup --link p0 --into /run/x --link b0 --into /run/x
        net-setup --link n9 --add bridge --into /run/x --link p0 --into /run/x --link b0 --into /run/x
        net-setup --link p0 --into /run/x --link v0 --into /run/y
        net-setup --link v0 --rename v9 --sysctl net.ipv4.conf.v9.forwarding=1 --sysctl net.ipv6.conf.v9.forwarding=1 --route 10.99.0.0/16=203.0.113.1,dev=v9
        net-setup --sysctl net.ipv4.ip_forward=1 --sysctl net.ipv6.conf.all.forwarding=1 $BAD
        net-setup --sysctl net.ipv4.conf.v0.forwarding=1 --sysctl net.ipv4.conf.all.forwarding=1 $BAD
        net-setup --sysctl net.ipv6.conf.all.disable_ipv6=1 $BAD
        net-setup --sysctl net.ipv6.conf.v0.disable_ipv6=1 $BAD
        net-setup --sysctl net.ipv6.conf.all.addr_gen_mode=0 $BAD
        net-setup --sysctl net.ipv6.conf.v1.addr_gen_mode=0 $BAD
        net-setup --sysctl 'net.ipv4.tcp_rmem=5000 x'
        net-setup --sysctl net.ipv4.ip_local_reserved_ports=5,7 $BAD
        veth-create --host w0 --peer w1 --netns /run/x --bridge b0 --host-mac 00:00:00:00:00:01 --mtu 1000 --up --host-addr 10.1.0.1/24 --route 10.5.0.0/16 --forward
        veth-create --host w0 --peer w1 --netns /run/x --up --route 10.1.0.77 --proxy --route 10.1.0.78 --route 10.1.0.78
LIST
        nsenter --net=/run/x ip -o link | wc -l
        ip -o link show v0 | cut -d: -f1"#,
    );
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines.first().is_some_and(|lines| lines.parse::<u32>().unwrap() > 120), "{} {}", run.stdout, run.stderr);
    assert_eq!(lines[1..], ["10", "3"], "{} {}", run.stdout, run.stderr);
}

#[test]
fn the_rules_of_others_stay_where_they_are() {
    let run = arena(
        r#"ip rule add pref 10 iif lo lookup 103; ip rule add pref 10 iif lo lookup 100; ip rule add pref 10 not fwmark 7 lookup 100; ip rule add pref 10 to 10.2.0.0/16 lookup 103
        ip rule add pref 20 lookup 100; ip rule add pref 30 uidrange 5-9 lookup 101; ip rule add pref 30 ipproto tcp dport 80 lookup 102
        ip -6 rule add pref 10 from 2001:db8::/48 iif lo lookup 103; ip -6 rule add pref 10 iif lo lookup 100; ip rule add pref 32000 goto 32766
        view() { ip -d rule; ip -6 -d rule; }
        view >/tmp/before
        while read -r rules; do
            net-setup $rules 2>/tmp/said && echo "WORKED $rules"
            view | diff /tmp/before - || { echo "$rules"; cat /tmp/said; }
        done <<END
        --rule priority=10,table=100 --rule priority=10,table=100
        --rule table=100 --rule priority=20,table=100
        --rule inet6,table=100 --rule inet6,priority=10,table=100 --rule inet6,priority=10,table=100
        --rule to=10.0.0.0/8,iif=lo,priority=10,table=100 --rule to=10.0.0.0/8,priority=10,table=100 --rule priority=10,fwmark=7/7,table=100 --rule priority=10,prohibit --rule priority=10,prohibit
        --rule priority=30,table=102 --rule priority=30,table=101 --rule priority=30,table=101
        --rule priority=0,table=100 --rule priority=0,table=100
END
        ip -6 rule del pref 10; ip -6 rule del pref 10; for pref in 10 10 10 10 20 30 30 32000; do ip rule del pref $pref; done; rm /tmp/before /tmp/said"#,
    );
    assert_eq!((run.stdout.as_str(), run.code), ("", Some(0)), "{}", run.stderr);
}

#[test]
fn what_all_interfaces_have_is_set_on_those_that_differ() {
    let run = on_a_used_host(
        r#"view() { cat /proc/sys/net/ipv6/conf/*/$1 | tr -d '\n'; echo; }
        for setting in disable_ipv6=0 forwarding=1 addr_gen_mode=0; do
            name=${setting%=*}; value=${setting#*=}
            sysctl -qw net.ipv6.conf.all.$setting; sysctl -qw net.ipv6.conf.d0.$name=$((1 - value)) net.ipv6.conf.p0.$name=$((1 - value))
            before=$(view $name)
            net-setup --sysctl net.ipv6.conf.all.$setting $BAD 2>/dev/null && echo WORKED
            [ "$(view $name)" = "$before" ] || echo "$before $(view $name)"
            net-setup --sysctl net.ipv6.conf.all.$setting
            view $name | grep -c $((1 - value))
        done"#,
    );
    assert_eq!(run.words(), ["0", "0", "0"], "{}", run.stderr);
}

#[test]
fn a_link_whose_name_was_given_up_meanwhile_is_deleted_too() {
    let run = arena(
        r#"touch /run/x; unshare -n mount --bind /proc/self/ns/net /run/x; ip link add v0 type veth peer name x0
        strace -f -qq -o /run/trace -e inject=sendto:signal=STOP:when=1 veth-create --host v0 --peer e0 --netns /run/x --host-addr 10.0.0.1/24 --host-addr 10.0.0.1/24 &
        until grep -q 'stopped by SIGSTOP' /run/trace 2>/dev/null; do sleep 0.02; done
        ip link del v0; kill -CONT $(pidof veth-create); wait; ip -o link show v0 2>/dev/null
        umount /run/x; rm /run/x /run/trace"#,
    );
    assert!(run.stderr.contains("add address 10.0.0.1/24 to v0: "), "{}", run.stderr);
    assert_eq!((run.stdout.as_str(), run.code), ("", Some(0)), "{}", run.stderr);
}

#[test]
fn a_setting_is_undone_when_descriptors_run_out() {
    let run = arena(
        r#"touch /run/x; unshare -n mount --bind /proc/self/ns/net /run/x
        for when in 1 2 3 4 5 6 7 8; do
            strace -f -qq -o /dev/null -e inject=fcntl:error=EMFILE:when=$when net-setup --netns /run/x --sysctl net.ipv4.ip_default_ttl=77; code=$?
            echo $code $(nsenter --net=/run/x sysctl -n net.ipv4.ip_default_ttl); nsenter --net=/run/x sysctl -qw net.ipv4.ip_default_ttl=64
        done | sort -u
        umount /run/x; rm /run/x"#,
    );
    assert_eq!(run.stdout, "0 77\n1 64\n", "{}", run.stderr);
    assert!(run.stderr.contains("duplicate network namespace: Too many open files (EMFILE)"), "{}", run.stderr);
}

#[test]
fn settings_that_cannot_be_read_are_set_and_said_to_stay() {
    let run = arena(
        r#"ip link add d0 type veth peer name d1
        net-setup --sysctl net.ipv6.conf.d0.stable_secret=2001:db8::1 --sysctl net.ipv4.route.flush=1 && sysctl -n net.ipv6.conf.d0.stable_secret
        net-setup --sysctl net.ipv6.conf.d1.stable_secret=2001:db8::1 --sysctl net.ipv4.route.flush=1 --route 10.0.0.0/8=192.0.2.1,dev=d0
        net-setup --link b0 --add bridge --sysctl net.ipv6.conf.b0.stable_secret=2001:db8::1 --route 10.0.0.0/8=192.0.2.1,dev=d0
        ip link del d0"#,
    );
    assert_eq!(run.words(), ["2001:0db8:0000:0000:0000:0000:0000:0001"], "{}", run.stderr);
    let hints: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("hint: ")).collect();
    let hint = "hint: not everything could be undone: restore sysctl net/ipv4/route/flush: its former value could not be read (EOPNOTSUPP)";
    assert_eq!(hints, [hint], "{}", run.stderr);
}

#[test]
fn what_cannot_be_restored_is_said() {
    let run = on_a_used_host(
        "sysctl -qw net.ipv6.conf.v0.accept_ra=2; net-setup --link v0 --mtu 1000 $BAD; sysctl -n net.ipv6.conf.v0.accept_ra; ip -6 addr show v0 | grep -c 2001",
    );
    assert_eq!(run.words(), ["1", "2"], "{}", run.stderr);
    let hint = "hint: not everything could be undone: restore the settings of v0 below net.*.conf: the kernel has set them to the defaults";
    assert!(run.stderr.contains(hint), "{}", run.stderr);
}

#[test]
fn who_may_not_enter_may_move_a_link_that_needs_no_way_back() {
    let run = on_a_used_host(
        "setpriv --bounding-set -sys_admin net-setup --link d0 --into /run/x; ip -o link show d0 2>/dev/null | wc -l; nsenter --net=/run/x ip -o link show d0 | wc -l; \
         view >/run/before.txt; setpriv --bounding-set -sys_admin net-setup --link d1 --into /run/x --link p0 --into /run/x; same",
    );
    assert_eq!(run.words(), ["0", "1"], "{} {}", run.stdout, run.stderr);
    assert!(
        run.stderr.starts_with("net-setup: enter network namespace: Operation not permitted (EPERM)"),
        "{}",
        run.stderr
    );
}

#[test]
fn answers_that_are_lost_cut_or_malformed_leave_nothing_or_all() {
    let run = arena(
        r#"touch /run/x; unshare -n mount --bind /proc/self/ns/net /run/x; ip link add old type bridge
        for fault in error=ENOBUFS error=EINTR retval=0 retval=8 retval=20 retval=70000 poke_exit=@arg2=ffffffffffffffffffffffffffffffffffffffff; do
            for when in 1 2 1+ 2+ 5+; do
                timeout 60 strace -qq -o /run/trace -e trace=recvfrom -e inject=recvfrom:$fault:when=$when veth-create --host v0 --peer e0 --netns /run/x \
                    --host-addr 10.0.0.1/24 --host-addr 2001:db8::1/64 --route 10.7.0.0/16 --up 2>/dev/null
                echo "$? $(ip -o link show v0 2>/dev/null | wc -l) $(nsenter --net=/run/x ip -o link show e0 2>/dev/null | wc -l)"
                ip link del v0 2>/dev/null
            done
        done | sort | uniq -c | while read -r count rest; do echo "$rest"; done
        for when in 1 2 2+; do
            strace -qq -o /run/trace -e trace=recvfrom -e inject=recvfrom:error=ENOBUFS:when=$when net-setup --link old --add bridge 2>/dev/null; ip -o link show old | wc -l
        done
        ip link del old; umount /run/x; rm /run/x /run/trace"#,
    );
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines, ["0 1 1", "1 0 0", "1", "1", "1"], "{} {}", run.stdout, run.stderr);
}

#[test]
fn few_sockets_and_few_messages() {
    let run = arena(
        r#"touch /run/x; unshare -n mount --bind /proc/self/ns/net /run/x
        count() { grep -c "$1" /run/trace; }
        strace -f -qq -o /run/trace -e trace=socket,sendto veth-create --host v0 --peer e0 --netns /run/x --host-addr 10.0.0.1/16 --up --route 10.7.0.0/16; count AF_NETLINK,
        args="--link v0"; for i in $(seq 250); do args="$args --addr 10.8.0.$i/32 --addr 10.9.0.$i/32 --route 10.10.$i.0/24 --route 10.11.$i.0/24"; done
        strace -f -qq -o /run/trace -e trace=socket,sendto net-setup $args; count AF_NETLINK,; count sendto
        ip -o addr show v0 | wc -l
        ip link del v0; umount /run/x; rm /run/x /run/trace"#,
    );
    let numbers: Vec<u32> = run.words().iter().map(|word| word.parse().unwrap()).collect();
    assert_eq!(numbers[..2], [2, 1], "{} {}", run.stdout, run.stderr);
    assert!(numbers[2] < 40 && numbers[3] >= 501, "{numbers:?} {}", run.stderr);
}

#[test]
fn settings_are_written_to_procfs_alone() {
    let run = arena(
        r#"unshare -m sh -c 'mount -t tmpfs x /proc/sys; mkdir -p /proc/sys/net/ipv4; echo 0 >/proc/sys/net/ipv4/ip_forward; net-setup --sysctl net.ipv4.ip_forward=1; cat /proc/sys/net/ipv4/ip_forward'
        unshare -m sh -c 'echo 0 >/tmp/f; mount --bind /tmp/f /proc/sys/net/ipv4/ip_forward; net-setup --sysctl net.ipv4.ip_forward=1; cat /tmp/f; rm /tmp/f'
        cat /proc/sys/net/ipv4/ip_forward"#,
    );
    assert_eq!(run.words(), ["0", "0", "0"], "{}", run.stderr);
    assert!(run.stderr.contains("open /proc/sys: is not procfs (EXDEV)"), "{}", run.stderr);
    assert!(run.stderr.contains("set sysctl net/ipv4/ip_forward=1: "), "{}", run.stderr);
}

#[test]
fn settings_are_written_where_openat2_is_filtered() {
    let run = arena(
        r#"touch /run/x; unshare -n mount --bind /proc/self/ns/net /run/x
        without() { strace -f -qq -o /dev/null -e inject=openat2:error=$errno "$@"; }
        for errno in ENOSYS EPERM; do
            without veth-create --host v0 --peer e0 --netns /run/x --forward; sysctl -n net.ipv4.conf.v0.forwarding; ip link del v0
            without net-setup --netns /run/x --sysctl net.ipv4.ip_default_ttl=77; nsenter --net=/run/x sysctl -n net.ipv4.ip_default_ttl
            nsenter --net=/run/x sysctl -qw net.ipv4.ip_default_ttl=64; without net-setup --sysctl net.ipv4.nonsense.x=1
        done
        echo 0 >/tmp/f
        unshare -m sh -c 'mount --bind /tmp/f /proc/sys/net/ipv4/ip_forward; strace -qq -o /dev/null -e inject=openat2:error=ENOSYS net-setup --sysctl net.ipv4.ip_forward=1'
        unshare -m sh -c 'mount -t tmpfs x /proc/sys/net/ipv4; ln -s /tmp/f /proc/sys/net/ipv4/ip_forward
            strace -qq -o /dev/null -e inject=openat2:error=ENOSYS net-setup --sysctl net.ipv4.ip_forward=1'
        cat /tmp/f; umount /run/x; rm /run/x /tmp/f"#,
    );
    assert_eq!(run.words(), ["1", "77", "1", "77", "0"], "{}", run.stderr);
    let errnos: Vec<&str> = run.stderr.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(errnos, ["(ENOENT)", "(ENOENT)", "(EXDEV)", "(ELOOP)"], "{}", run.stderr);
}

#[test]
fn the_network_of_an_address_with_a_peer_is_that_of_the_peer() {
    let run = arena(
        r#"touch /run/x; unshare -n mount --bind /proc/self/ns/net /run/x; ip link add v0 type veth peer name v1; ip link set v0 up
        ip addr add 10.0.0.1 peer 192.168.5.1/24 dev v0; ip addr add 2001:db8::1 peer 2001:db8:5::1/64 dev v0
        create() { veth-create --host w0 --peer w1 --netns /run/x --up --proxy "$@"; }
        create --route 192.168.5.77 --route 2001:db8:5::77 && ip -4 neigh show proxy && ip -6 neigh show proxy; ip link del w0
        create --route 10.0.0.77; create --route 2001:db8::77
        sysctl -qw net.ipv4.conf.v0.forwarding=0; ip link del v0; umount /run/x; rm /run/x"#,
    );
    assert_eq!(run.words().join(" "), "192.168.5.77 dev v0 proxy 2001:db8:5::77 dev v0 proxy", "{}", run.stderr);
    let errors: Vec<&str> = run.stderr.lines().filter(|line| !line.starts_with("hint: ")).collect();
    assert!(
        errors.len() == 2 && errors.iter().all(|line| line.contains("no interface has this address")),
        "{errors:?}"
    );
}

#[test]
fn neighbours_in_the_tree_of_links_may_have_any_name() {
    let run = arena(
        r#"ip link add v0 type veth peer name v1; ip link add brü type bridge; ip link set v0 master brü
        ip link set v0 up; ip link set v1 up; ip link set brü up; ip link add mü link v1 type macvlan; ip link set mü up; ip addr add 2001:db8::1/64 dev mü nodad
        net-setup --link v0 --mtu 1400 && ip -o link show v0 | grep -o 'mtu 1400'
        while ip -6 addr show | grep -q tentative; do sleep 0.1; done
        view() { ip link; ip addr; for f in /proc/sys/net/ipv6/conf/*ü/*forwarding; do echo "$f $(cat $f)"; done; }
        view >/tmp/before
        for args in '--link v1 --mtu 1000' '--link v0 --mtu 1000' '--link v0 --nomaster' '--sysctl net.ipv6.conf.all.forwarding=1' '--sysctl net.ipv6.conf.all.disable_ipv6=1'; do
            net-setup $args --route 10.99.0.0/16=203.0.113.1,dev=v0 2>/tmp/said && echo "WORKED: $args"
            grep hint: /tmp/said;
            for try in $(seq 50); do view >/tmp/after; cmp -s /tmp/before /tmp/after && break; sleep 0.2; done
            diff /tmp/before /tmp/after || echo "DIFFERS: $args"
        done
        ip link del v0; ip link del brü; rm /tmp/before /tmp/after /tmp/said"#,
    );
    assert_eq!((run.stdout.as_str(), run.code), ("mtu 1400\n", Some(0)), "{}", run.stderr);
}

#[test]
fn wait_dad_waits_for_the_link_local_address_too() {
    let run = arena(
        r#"for i in 1 2 3 4 5; do
            ip link add v0 type veth peer name v1; ip link set v1 up; net-setup --link v0 --up --wait-dad
            grep -c '^fe80.* v0$' /proc/net/if_inet6; ip -6 -o addr show v0 tentative | grep -c .
            ip link del v0
        done | sort | uniq -c
        # none is to come
        ip link add v0 type veth peer name v1; ip link set v1 up
        sysctl -qw net.ipv6.conf.v0.addr_gen_mode=1 net.ipv6.conf.v1.disable_ipv6=1
        net-setup --link v0 --up --link v1 --wait-dad; ip link set v0 down; ip link set v0 mtu 1000; net-setup --link v0 --up --wait-dad; net-setup --wait-dad
        ip link del v0"#,
    );
    assert_eq!((run.words().join(" ").as_str(), run.stderr.as_str()), ("5 0 5 1", ""));
}

#[test]
fn asked_to_end_the_tools_undo_what_they_did_and_end_of_the_signal() {
    let run = on_a_used_host(
        r#"view >/run/before.txt
        args='--sysctl net.ipv4.ip_forward=1 --link d0 --up --mtu 1400 --addr 2001:db8:77::1/64 --wait-dad'
        for signal in TERM INT HUP QUIT; do timeout --preserve-status -s $signal 0.5 net-setup $args; echo $?; same; done
        (trap '' TERM; strace -f -qq -o /dev/null -e inject=sendto:signal=TERM:when=2 net-setup --link d0 --mtu 1400); echo $? $(ip -o link show d0 | grep -c 'mtu 1400')
        ip link set d0 mtu 1500
        for tool in 'net-setup --sysctl net.ipv4.ip_forward=1 --link d0 --up --mtu 1400 --addr 10.77.0.1/24 --rule table=7' \
            'veth-create --host w0 --peer w1 --netns /run/x --up --host-addr 10.77.0.1/24 --route 10.78.0.0/16 --forward'; do
            n=0; while n=$((n + 1)); strace -f -qq -o /run/said -e trace=sendto -e inject=sendto:signal=TERM:when=$n $tool 2>/dev/null; code=$?; [ $code = 143 ]; do same; done
            [ $n -gt 5 ] || echo "$tool $n"; echo $code; view >/run/before.txt
        done
        ip link del w0"#,
    );
    let expected = ["143", "130", "129", "131", "0", "1", "0", "0"];
    assert_eq!(run.words(), expected, "{}", run.stderr);
    assert!(run.stderr.contains("configure network: SIGTERM came before the end (ECANCELED)"), "{}", run.stderr);
}

#[test]
fn killed_at_any_moment_net_setup_leaves_a_namespace_that_works() {
    let run = arena(
        "nsfd-create -n -- ns-enter --ns net -- sh -c 'for i in $(seq 30); do \
           timeout -s KILL 0.00$((i / 10))$((i % 10)) net-setup --lo --link b0 --add bridge --mtu 1400 --addr 10.9.0.1/24 --addr 2001:db8::1/64,nodad --up --route 10.7.0.0/16=10.9.0.2 2>/dev/null; \
           ip link del b0 2>/dev/null; net-setup --link b0 --add bridge --up --addr 10.9.0.1/24 --route 10.7.0.0/16=10.9.0.2 || echo BROKEN; ip link del b0; done; echo end'",
    );
    assert_eq!(run.words(), ["end"], "{}", run.stderr);
}

#[test]
fn ignored_children_are_no_obstacle() {
    let run = arena(
        "nsfd-create -n --fd net=21 -- sh -c 'trap \"\" CHLD; veth-create --host v0 --peer eth0 --netns fd:21 --up --forward; net-setup --netns fd:21 --link eth0 --addr 10.0.0.1/24 --sysctl net.ipv4.ip_forward=1; \
         ns-enter --ns net=fd:21 -- ip -o -4 addr show eth0 | wc -l; ip link del v0'",
    );
    assert_eq!((run.words(), run.stderr.as_str()), (vec!["1"], ""));
}

#[test]
fn ipv6_and_every_key() {
    let run = arena(
        "nsfd-create -n -- ns-enter --ns net -- sh -c 'net-setup --link br0 --add bridge --up --addr 2001:db8::1/64,nodad --neigh 2001:db8::9=02:00:00:00:00:09 --proxy 2001:db8::8 \
           --route 2001:db8:7::/48=2001:db8:99::1,onlink --link vx0 --add vxlan,id=5,remote=2001:db8::5,local=2001:db8::1,port=4790,parent=br0 \
           --link t0 --add tap --master br0 --port isolated=on,hairpin=on,learning=off,flood=off,mcast_flood=off,bcast_flood=off,guard=on,root_block=on,fastleave=on,neigh_suppress=on,priority=7,cost=77 \
           --link t1 --add tap --link mp0 --add macvlan,parent=t1,mode=passthru --link br1 --add bridge --link mv0 --add macvlan,parent=br1,mode=vepa; \
         ip -6 neigh show nud permanent; ip -6 neigh show proxy; ip -6 route show 2001:db8:7::/48; ip -d link show vx0; ip -d link show mp0; ip -d link show mv0; bridge -d link show dev t0; \
         net-setup --link t0 --nomaster --link vx1 --add vxlan,id=6,local=192.0.2.1,remote=2001:db8::1; bridge link show dev t0 | wc -l'",
    );
    let text = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "2001:db8::9 dev br0 lladdr 02:00:00:00:00:09 PERMANENT",
        "2001:db8::8 dev br0 proxy",
        "2001:db8:7::/48 via 2001:db8:99::1 dev br0 metric 1024 onlink",
        "vxlan id 5 remote 2001:db8::5 local 2001:db8::1 dev br0",
        "dstport 4790",
        "macvlan mode passthru",
        "macvlan mode vepa",
        "priority 7 cost 77",
        "hairpin on guard on root_block on fastleave on learning off flood off mcast_flood off bcast_flood off",
        "neigh_suppress on",
        "isolated on",
    ] {
        assert!(text.contains(expected), "{expected}: {text} {}", run.stderr);
    }
    assert!(text.ends_with(" 1"), "what fails detaches nothing: {text}");
}

#[test]
fn before_linux_6_17_ipv6_is_forwarded_from_all_or_the_pair_is_not_made() {
    let run = arena(
        r#"cd /tmp; for all in 0 1; do net-setup --sysctl net.ipv6.conf.all.forwarding=$all; when=999
        for once in 1 2; do nsfd-create -n --fd net=21 -- strace -f -o trace -e trace=openat2 -e inject=openat2:error=ENOENT:when=$when veth-create --host v0 --peer e0 --netns fd:21 \
            --up --forward --host-addr 2001:db8::1/64; echo $?; ip -o link show v0 2>/dev/null | wc -l; ip link del v0 2>/dev/null
          when=$(grep openat2 trace | grep -n force_forwarding | cut -d: -f1); done; done; rm trace"#,
    );
    assert_eq!(run.words(), ["0", "1", "1", "0", "0", "1", "0", "1"], "{}", run.stderr);
    let hint = "force_forwarding=1: No such file or directory (ENOENT)\nhint: before Linux 6.17 IPv6 is forwarded from every interface";
    assert!(run.stderr.contains(hint), "{}", run.stderr);
}
