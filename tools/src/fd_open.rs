//! `fd-open`: descriptors from other namespaces and processes.

use std::os::fd::AsRawFd;

use argh::{ArgsInfo, FromArgs};
use libctr::Context;
use libctr::open::Opening;
use libctr::process::Exec;
use libctr::sys::fd::duplicate;

use crate::cli::{Chain, Failure, Tool, become_program, require, usage};

/// Opens sockets, files and devices, also in other namespaces, pidfds, and descriptors of other processes, and executes PROGRAM
/// with them; OPENFD_NAME variables say their numbers. PROGRAM stays in the caller's namespaces.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "fd-open --tcp 0.0.0.0:80=WEB,netns=/run/netns/blue --file /etc/app.conf=CONF,mntns=pid:42 -- env",
    note = "Sockets: netns=NSREF, nonblock, reuseaddr, reuseport, v6only[=on|off], freebind, transparent, keepalive, nodelay, \
            defer_accept=SECONDS, broadcast, dev=NAME, mark=N, rcvbuf=BYTES, sndbuf=BYTES; tcp, udp and unix also connect, else they are \
            bound; what has connections listens, with backlog=N, unless nolisten; unix: type=stream|dgram|seqpacket, mode=OCTAL, \
            mntns=NSREF; netlink: groups=N; packet: link=NAME, type=raw|dgram. The scope of an address is a name or a number: \
            [fe80::1%eth0]:80. FAMILY is inet, inet6, unix, netlink, packet or vsock, TYPE stream, dgram, raw or seqpacket, each PROTOCOL \
            a name or a number.\n\
            Files: mntns=NSREF, root=DIR|fd:N|env:VAR; write, rdwr or path, else read; append, create, excl, trunc, mode=OCTAL, directory, \
            nofollow, nonblock, without which a FIFO is waited for; beneath, no_symlinks, no_xdev; magiclinks, without which those of /proc \
            are refused.\n\
            Tun: netns=NSREF, tap, multi_queue, vnet_hdr, nonblock.\n\
            Files that were made, of sockets too, are removed if a later one fails or PROGRAM cannot be executed.\n\
            NAME is letters, digits and _. In a path \\054 is a comma.\n\
            Exit status: that of PROGRAM; 125 this tool failed, 126 PROGRAM cannot be executed, 127 not found."
)]
pub struct FdOpen {
    /// a TCP socket; may be repeated, like all others
    #[argh(option, arg_name = "ADDR:PORT=NAME[,OPTS]", from_str_fn(tcp))]
    tcp: Vec<Opening>,
    /// a UDP socket
    #[argh(option, arg_name = "ADDR:PORT=NAME[,OPTS]", from_str_fn(udp))]
    udp: Vec<Opening>,
    /// a unix socket; @ABSTRACT has no file
    #[argh(option, arg_name = "PATH|@ABSTRACT=NAME[,OPTS]", from_str_fn(unix))]
    unix: Vec<Opening>,
    /// a netlink socket, of a protocol such as route or generic
    #[argh(option, arg_name = "PROTOCOL=NAME[,OPTS]", from_str_fn(netlink))]
    netlink: Vec<Opening>,
    /// a packet socket, for an Ethernet protocol such as 0x0800, or all
    #[argh(option, arg_name = "PROTOCOL=NAME[,OPTS]", from_str_fn(packet))]
    packet: Vec<Opening>,
    /// a socket of any kind that is only opened, as inet:raw:icmp
    #[argh(option, arg_name = "FAMILY:TYPE:PROTOCOL=NAME[,OPTS]", from_str_fn(socket))]
    socket: Vec<Opening>,
    /// a file or directory
    #[argh(option, arg_name = "PATH=NAME[,OPTS]", from_str_fn(file))]
    file: Vec<Opening>,
    /// a tun or tap device; made if it is missing, then gone with the descriptor
    #[argh(option, arg_name = "LINK=NAME[,OPTS]", from_str_fn(tun))]
    tun: Vec<Opening>,
    /// a pidfd
    #[argh(option, arg_name = "PIDREF=NAME", from_str_fn(pidfd))]
    pidfd: Vec<Opening>,
    /// a duplicate of descriptor N of a process
    #[argh(option, arg_name = "PIDREF:N=NAME", from_str_fn(of_process))]
    of_process: Vec<Opening>,
    /// the network namespace of a socket, fd:N or env:VAR
    #[argh(option, arg_name = "REF=NAME", from_str_fn(netns_of))]
    netns_of: Vec<Opening>,
    /// the user namespace that owns a namespace
    #[argh(option, arg_name = "KIND:NSREF=NAME", from_str_fn(owner))]
    owner_of: Vec<Opening>,
    /// the parent of a user or pid namespace
    #[argh(option, arg_name = "KIND:NSREF=NAME", from_str_fn(parent))]
    parent_of: Vec<Opening>,
}

macro_rules! parsers {
    ($($name:ident => $opening:ident),*) => {
        $(fn $name(text: &str) -> Result<Opening, String> {
            Opening::$opening(text).map_err(|error| error.reason().into_owned())
        })*
    };
}
parsers!(
    tcp => tcp, udp => udp, unix => unix, netlink => netlink, packet => packet, socket => socket, file => file, tun => tun, pidfd => process,
    of_process => of_process, netns_of => netns_of, owner => owner, parent => parent
);

impl Tool for FdOpen {
    const NAME: &'static str = "fd-open";
    const CHAIN: Chain = Chain::Always;

    fn run(self, program: Option<Exec>) -> Result<(), Failure> {
        let mut program = require(program)?;
        let wanted = [
            // the open(2) of a FIFO waits, perhaps for ever: whoever ends that, no socket file is left
            self.file,
            self.tcp,
            self.udp,
            self.unix,
            self.netlink,
            self.packet,
            self.socket,
            self.tun,
            self.pidfd,
            self.of_process,
            self.netns_of,
            self.owner_of,
            self.parent_of,
        ]
        .concat();
        if wanted.is_empty() {
            return Err(usage("--tcp, --udp, --unix, --file, …", "one of them is needed: see --help"));
        }
        for (index, opening) in wanted.iter().enumerate() {
            if wanted[..index].iter().any(|other| other.variable() == opening.variable()) {
                return Err(usage(&opening.variable(), "is the name of two descriptors"));
            }
        }
        // gone again unless this process becomes the program
        let mut files = Vec::new();
        for opening in &wanted {
            let (fd, made) = opening.open_undoable()?;
            files.extend(made);
            // what was open meanwhile took the low numbers, and a shell can use 0 to 9 only
            let low = duplicate(fd.as_raw_fd(), 3).context("duplicate descriptor of", opening.variable())?;
            let number = program.pass(if low.as_raw_fd() < fd.as_raw_fd() { low } else { fd }, None)?;
            program.set_var(opening.variable(), number.to_string());
        }
        Err(become_program(program))
    }
}
