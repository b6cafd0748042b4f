//! [`Socket`], [`Request`] and [`Transaction`]: requests to the kernel, each acknowledged, all or nothing.
//!
//! rtnetlink handles a request while it is being sent: when send(2) returns, the answer is there. So nothing here ever
//! blocks, and an answer that is missing is an error at once.

use std::os::fd::{AsFd, OwnedFd};

use netlink_sys::{Socket as RawSocket, SocketAddr};

use super::InterfaceName;
use super::message::{Message, attributes, str_of, u32_of};
use crate::error::{Context, Errno, Error, Result};
use crate::ns::{Kind, open_in};

const NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const NLM_F_ACK: u16 = libc::NLM_F_ACK as u16;
const NLM_F_DUMP: u16 = libc::NLM_F_DUMP as u16;
const NLM_F_EXCL: u16 = libc::NLM_F_EXCL as u16;
const NLM_F_CREATE: u16 = libc::NLM_F_CREATE as u16;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// `nlmsg_type` of an acknowledgement and of the end of a dump.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The attributes of an extended acknowledgement.
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// How many requests go out in one datagram: their acknowledgements always fit into the receive buffer.
const BATCH: usize = 32;
/// No request of ours is longer; the length of an attribute is a 16-bit number that must not wrap around.
const REQUEST_MAX: usize = 16 * 1024;
/// The kernel makes no datagram of a dump longer than 32 KiB.
const REPLY_MAX: usize = 64 * 1024;

/// One thing that the kernel is asked to do, and how to take it back.
#[derive(Clone, Debug)]
#[must_use]
pub struct Request {
    operation: &'static str,
    object: String,
    message: Message,
    flags: u16,
    undo: Option<Message>,
    /// A link, and the hardware address that it is to have again when this is undone.
    address: Option<(u32, Vec<u8>)>,
}

impl Request {
    /// Makes something new: EEXIST where it is there already (`NLM_F_CREATE | NLM_F_EXCL`). `undo` deletes it.
    pub(super) fn create(operation: &'static str, object: impl ToString, message: Message, undo: Message) -> Self {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        Request { operation, object: object.to_string(), message, flags, undo: Some(undo), address: None }
    }

    /// Changes or deletes what is there.
    pub(super) fn change(
        operation: &'static str,
        object: impl ToString,
        message: Message,
        undo: Option<Message>,
    ) -> Self {
        Request { operation, object: object.to_string(), message, flags: 0, undo, address: None }
    }

    /// The same, which also gives a link its hardware address back when it is undone: a bridge takes over that of a port, and
    /// has none when the last one goes.
    pub(super) fn keeping_address(self, index: u32, address: &[u8]) -> Self {
        Request { address: Some((index, address.to_vec())), ..self }
    }

    fn error(&self, errno: Errno) -> Error {
        Error::new(self.operation, &self.object, errno)
    }
}

/// An rtnetlink socket. It acts in the network namespace in which it was opened, wherever its owner goes.
#[derive(Debug)]
pub struct Socket {
    socket: RawSocket,
    sequence: u32,
}

impl Socket {
    /// The network namespace it belongs to (Linux 4.9).
    ///
    /// # Errors
    /// EPERM: CAP_NET_ADMIN over it is missing.
    #[doc(alias = "SIOCGSKNS")]
    pub fn netns(&self) -> Result<OwnedFd> {
        crate::sys::net::socket_netns(&self.socket).context("find network namespace of", "netlink socket")
    }

    /// Opens a socket in the calling thread's network namespace, with extended acknowledgements (Linux 4.12).
    ///
    /// # Errors
    /// EPROTONOSUPPORT: the kernel has no rtnetlink. EMFILE, ENOBUFS: out of descriptors or memory.
    pub fn open() -> Result<Self> {
        Socket::set_up(raw().context(OPEN, "")?)
    }

    fn set_up(fd: OwnedFd) -> Result<Self> {
        let mut socket = crate::sys::net::netlink_socket(fd);
        let mut set_up = || {
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)
        };
        let done: std::io::Result<()> = set_up();
        done.context(OPEN, "")?;
        Ok(Socket { socket, sequence: 0 })
    }

    /// Opens a socket in another network namespace. A child goes there: the caller stays where it is.
    ///
    /// # Errors
    /// EPERM: setns(2) needs CAP_SYS_ADMIN both in the caller's user namespace and in the one that owns `netns`, unless the caller
    /// may enter that one. EINVAL: `netns` is no network namespace. Those of [`Socket::open`].
    pub fn open_in(netns: impl AsFd) -> Result<Self> {
        Socket::set_up(open_in(netns.as_fd(), Kind::Net, &"", &[], &raw)?.context(OPEN, "")?)
    }

    /// Starts a series of requests that is undone as a whole unless it is [committed](Transaction::commit).
    pub fn begin(&mut self) -> Transaction<'_> {
        Transaction { socket: self, undo: Vec::new() }
    }

    /// Carries out all requests, or none.
    ///
    /// # Errors
    /// That of the first request that failed, with the kernel's own words where it has some.
    pub fn run(&mut self, requests: &[Request]) -> Result<()> {
        let mut transaction = self.begin();
        transaction.run(requests)?;
        transaction.commit();
        Ok(())
    }

    /// Sends one request that is answered by a message before the acknowledgement.
    pub(super) fn query(&mut self, request: &Request) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        match self.exchange(std::slice::from_ref(request), 0, &mut messages).pop() {
            Some(Err(error)) => Err(error),
            _ => Ok(messages),
        }
    }

    /// Asks for all there is of a kind.
    pub(super) fn dump(&mut self, request: &Request) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        match self.exchange(std::slice::from_ref(request), NLM_F_DUMP, &mut messages).pop() {
            Some(Err(error)) => Err(error),
            _ => Ok(messages),
        }
    }

    /// Whether the kernel lets this socket change links: a change of a link that cannot exist is refused with EPERM or,
    /// where the rights are there, with another error.
    pub(super) fn may_change(&mut self) -> bool {
        let message = Message::link(libc::RTM_NEWLINK, 0, 0, 0);
        let request = Request::change("probe", "", message, None);
        !matches!(self.query(&request), Err(error) if error.errno() == Errno::EPERM)
    }

    /// Sends up to [`BATCH`] requests in one datagram; one result for each.
    fn exchange(&mut self, requests: &[Request], flags: u16, messages: &mut Vec<Message>) -> Vec<Result<()>> {
        let first = self.sequence.wrapping_add(1);
        let mut results: Vec<Option<Result<()>>> = vec![None; requests.len()];
        let outcome = self.send(requests, flags).and_then(|()| self.receive(first, requests, &mut results, messages));
        results
            .into_iter()
            .zip(requests)
            .map(|(result, request)| match (result, &outcome) {
                (Some(result), _) => result,
                (None, Err((errno, reason))) => Err(request.error(*errno).with_reason(reason.clone())),
                (None, Ok(())) => Err(request.error(Errno::EPROTO).with_reason("the kernel gave no answer")),
            })
            .collect()
    }

    fn send(&mut self, requests: &[Request], flags: u16) -> std::result::Result<(), (Errno, String)> {
        let mut datagram = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let length = HEADER + request.message.bytes.len();
            if length > REQUEST_MAX {
                return Err((
                    Errno::EMSGSIZE,
                    format!("the request has {length} bytes, at most {REQUEST_MAX} are sent"),
                ));
            }
            datagram.extend((length as u32).to_ne_bytes());
            datagram.extend(request.message.kind.to_ne_bytes());
            datagram.extend((NLM_F_REQUEST | NLM_F_ACK | request.flags | flags).to_ne_bytes());
            datagram.extend(self.sequence.to_ne_bytes());
            datagram.extend([0; 4]);
            datagram.extend(&request.message.bytes);
        }
        loop {
            match self.socket.send(&datagram, 0).map_err(errno) {
                Ok(sent) if sent == datagram.len() => return Ok(()),
                Ok(_) => return Err((Errno::EIO, "the request was sent in part".into())),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err((errno, "the request cannot be sent".into())),
            }
        }
    }

    fn receive(
        &mut self,
        first: u32,
        requests: &[Request],
        results: &mut [Option<Result<()>>],
        messages: &mut Vec<Message>,
    ) -> std::result::Result<(), (Errno, String)> {
        let mut buffer = vec![0; REPLY_MAX];
        while results.iter().any(Option::is_none) {
            let mut room = &mut buffer[..];
            let received = self.socket.recv_from(&mut room, libc::MSG_DONTWAIT | libc::MSG_TRUNC);
            let (length, sender) = match received.map_err(errno) {
                Ok(received) => received,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Err((Errno::EPROTO, "the kernel gave no answer".into())),
                Err(Errno::ENOBUFS) => {
                    return Err((Errno::ENOBUFS, "the kernel's answer was lost, it may have been done".into()));
                }
                Err(errno) => return Err((errno, "the answer cannot be received".into())),
            };
            if sender.port_number() != 0 {
                continue;
            }
            let Some(datagram) = buffer.get(..length) else {
                return Err((Errno::EMSGSIZE, format!("the kernel's answer has {length} bytes, it was cut off")));
            };
            for reply in replies(datagram) {
                let reply = reply.map_err(|reason| (Errno::EPROTO, reason.to_owned()))?;
                let slot = reply.sequence.wrapping_sub(first) as usize;
                let (Some(result), Some(request)) = (results.get_mut(slot), requests.get(slot)) else {
                    continue; // the late answer to an earlier request
                };
                match reply.body {
                    Body::End { code: 0, .. } => *result = Some(Ok(())),
                    Body::End { code, reason } => {
                        let error = request.error(Errno::from_raw(code.saturating_neg()));
                        let reason = reason.map(|text| format!("{}: {text}", error.reason()));
                        *result = Some(Err(match reason {
                            Some(reason) => error.with_reason(reason),
                            None => error,
                        }));
                    }
                    Body::Message(message) => messages.push(message),
                }
            }
        }
        Ok(())
    }
}

/// Requests that stand or fall together.
#[derive(Debug)]
#[must_use = "what it did is undone when it is dropped"]
pub struct Transaction<'a> {
    socket: &'a mut Socket,
    undo: Vec<Request>,
}

impl Transaction<'_> {
    /// Carries out these requests too. Where one fails, everything that the transaction did is undone.
    ///
    /// # Errors
    /// That of the first request that failed. What could not be undone is in the hint.
    pub fn run(&mut self, requests: &[Request]) -> Result<()> {
        for batch in requests.chunks(BATCH) {
            let results = self.socket.exchange(batch, 0, &mut Vec::new());
            let done = batch.iter().zip(&results).filter(|(_, result)| result.is_ok());
            for (request, _) in done {
                let object = format!("{} {}", request.operation, request.object);
                if let Some((index, address)) = &request.address {
                    let message = Message::link(libc::RTM_NEWLINK, *index, 0, 0).with(libc::IFLA_ADDRESS, address);
                    let request = Request::change("undo", &object, message, None);
                    self.undo.push(request.keeping_address(*index, address));
                }
                if let Some(message) = &request.undo {
                    self.undo.push(Request::change("undo", object, message.clone(), None));
                }
            }
            if let Some(error) = results.into_iter().find_map(Result::err) {
                let error = explain(error, self.socket);
                return Err(match self.rollback() {
                    Ok(()) => error,
                    Err(left) => error.with_hint(format!("not everything could be undone: {left}")),
                });
            }
        }
        Ok(())
    }

    /// The socket, for queries between the requests.
    pub fn socket(&mut self) -> &mut Socket {
        self.socket
    }

    /// Keeps what was done.
    pub fn commit(mut self) {
        self.undo.clear();
    }

    /// Has the link of this name deleted, should all be undone.
    pub(super) fn delete_on_undo(&mut self, name: &InterfaceName) {
        let message = Message::link(libc::RTM_DELLINK, 0, 0, 0).with_str(libc::IFLA_IFNAME, name.as_str());
        self.undo.push(Request::change("undo", format!("create link {name}"), message, None));
    }

    /// Undoes what was done, the last first. What is gone already is no error: an address goes with its link.
    fn rollback(&mut self) -> Result<()> {
        let mut first = Ok(());
        while let Some(request) = self.undo.pop() {
            // an address that was set is no longer taken from a port: only where it changed
            let unchanged = |(index, address): &(u32, Vec<u8>)| {
                self.socket.link_at(*index).is_ok_and(|link| link.hardware_address() == address)
            };
            if request.address.as_ref().is_some_and(unchanged) {
                continue;
            }
            let result = self.socket.exchange(&[request], 0, &mut Vec::new()).pop().unwrap_or(Ok(()));
            match result {
                Err(error)
                    if !matches!(
                        error.errno(),
                        Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT
                    ) =>
                {
                    first = first.and(Err(error));
                }
                _ => {}
            }
        }
        first
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // The caller is on its way out with an error of its own; what cannot be undone has no one left to be told to.
        let _ = self.rollback();
    }
}

/// Adds what a person can do about it.
fn explain(error: Error, socket: &mut Socket) -> Error {
    if error.hint().is_some() {
        return error;
    }
    match error.errno() {
        Errno::EPERM if socket.may_change() => error.with_hint(
            "CAP_NET_ADMIN is there for this network namespace, but not in the user namespace that owns the other one",
        ),
        Errno::EPERM => {
            error.with_hint("this needs CAP_NET_ADMIN in the user namespace that owns this network namespace")
        }
        Errno::EOPNOTSUPP => error.with_hint("the kernel may lack the driver: is the module built and loaded?"),
        _ => error,
    }
}

const OPEN: &str = "open netlink socket";

fn raw() -> nix::Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[derive(Debug)]
struct Reply {
    sequence: u32,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The acknowledgement, or the end of a dump: 0 or a negative errno.
    End { code: i32, reason: Option<String> },
    /// A message.
    Message(Message),
}

/// The messages of one datagram, up to and including the first that is not well-formed.
fn replies(mut rest: &[u8]) -> impl Iterator<Item = std::result::Result<Reply, &'static str>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (header, payload) = match u32_of(rest).and_then(|length| rest.get(..length as usize)) {
            Some(bytes) if bytes.len() >= HEADER => bytes.split_at(HEADER),
            _ => {
                rest = &[];
                return Some(Err("the kernel's answer is malformed"));
            }
        };
        rest = rest.get((HEADER + payload.len()).next_multiple_of(4)..).unwrap_or_default();
        let short = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let (kind, flags) = (short(4), short(6));
        let body = match kind {
            NLMSG_ERROR | NLMSG_DONE => end(kind, flags, payload),
            _ => Ok(Body::Message(Message { kind, bytes: payload.to_vec() })),
        };
        let sequence = u32_of(&header[8..]).unwrap_or(0);
        Some(body.map(|body| Reply { sequence, body }))
    })
}

/// Reads an acknowledgement: the code, the header of the request (all of it unless it is capped), attributes.
fn end(kind: u16, flags: u16, payload: &[u8]) -> std::result::Result<Body, &'static str> {
    let (code, rest) = match payload.split_first_chunk() {
        Some((code, rest)) => (i32::from_ne_bytes(*code), rest),
        None if kind == NLMSG_DONE => (0, payload),
        None => return Err("the kernel's acknowledgement is too short"),
    };
    let reason = if flags & NLM_F_ACK_TLVS == 0 {
        None
    } else if kind == NLMSG_DONE {
        reason(rest)
    } else {
        let echoed = match u32_of(rest) {
            Some(length) if flags & NLM_F_CAPPED == 0 => (length as usize).max(HEADER),
            _ => HEADER,
        };
        echoed.checked_next_multiple_of(4).and_then(|end| rest.get(end..)).and_then(reason)
    };
    Ok(Body::End { code, reason })
}

/// The kernel's own words in an extended acknowledgement.
fn reason(bytes: &[u8]) -> Option<String> {
    let (mut text, mut offset) = (None, None);
    for (kind, value) in attributes(bytes) {
        match kind {
            NLMSGERR_ATTR_MSG => text = Some(str_of(value).replace(char::is_control, " ")),
            NLMSGERR_ATTR_OFFS => offset = u32_of(value),
            _ => {}
        }
    }
    match (text, offset) {
        (Some(text), Some(offset)) => Some(format!("{text} (at byte {offset} of the request)")),
        (Some(text), None) => Some(text),
        (None, Some(offset)) => Some(format!("the attribute at byte {offset} of the request")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledgement as the kernel writes it.
    fn ack(sequence: u32, code: i32, flags: u16, echo: usize, attributes: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((16 + 4 + echo + attributes.len()) as u32).to_ne_bytes());
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        let mut header = vec![0; echo];
        header[..4].copy_from_slice(&(echo as u32).to_ne_bytes());
        bytes.extend(header);
        bytes.extend(attributes);
        bytes
    }

    fn text_attribute(text: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + text.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
        bytes.extend(text);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn reads_the_kernels_words_capped_or_not() {
        let mut attributes = text_attribute(b"no good\0");
        for (flags, echo) in [(NLM_F_ACK_TLVS | NLM_F_CAPPED, 16), (NLM_F_ACK_TLVS, 16), (NLM_F_ACK_TLVS, 64)] {
            let bytes = ack(7, -22, flags, echo, &attributes);
            let reply = replies(&bytes).next().unwrap().unwrap();
            assert_eq!(reply.sequence, 7);
            let Body::End { code, reason } = reply.body else { panic!("no acknowledgement") };
            assert_eq!((code, reason.as_deref()), (-22, Some("no good")));
        }
        attributes.extend([8, 0, 2, 0, 40, 0, 0, 0]);
        let bytes = ack(7, -22, NLM_F_ACK_TLVS | NLM_F_CAPPED, 16, &attributes);
        let Body::End { reason, .. } = replies(&bytes).next().unwrap().unwrap().body else {
            panic!("no acknowledgement")
        };
        assert_eq!(reason.as_deref(), Some("no good (at byte 40 of the request)"));
    }

    #[test]
    fn no_cut_or_mangled_answer_panics_or_loops() {
        let mut datagram = ack(1, -1, NLM_F_ACK_TLVS, 32, &text_attribute(b"x\0"));
        datagram.extend(ack(2, 0, NLM_F_CAPPED, 16, &[]));
        assert_eq!(replies(&datagram).filter(|reply| reply.is_ok()).count(), 2);
        for end in 0..datagram.len() {
            assert!(replies(&datagram[..end]).count() <= 2);
        }
        for at in 0..datagram.len() {
            for value in [0, 1, 2, 3, 0x7f, 0xff] {
                let mut mangled = datagram.clone();
                mangled[at] = value;
                assert!(replies(&mangled).count() <= datagram.len());
            }
        }
    }

    #[test]
    fn a_request_that_is_too_long_is_not_sent() {
        let message = Message::link(libc::RTM_NEWLINK, 0, 0, 0).with(libc::IFLA_ADDRESS, &[0; 70_000]);
        let request = Request::change("set", "x", message, None);
        let error = Socket::open().unwrap().query(&request).unwrap_err();
        assert_eq!(error.errno(), Errno::EMSGSIZE, "{error}");
    }

    #[test]
    fn a_file_that_is_no_network_namespace_is_refused() {
        let error = Socket::open_in(std::fs::File::open("/proc/self/ns/uts").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "enter network namespace: the descriptor is no network namespace (EINVAL)");
    }
}
