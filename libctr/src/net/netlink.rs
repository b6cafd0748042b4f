//! [`Socket`] and [`Request`]: requests to the kernel, each acknowledged.
//!
//! rtnetlink handles a request while it is being sent: when send(2) returns, the answer is there. So nothing here ever
//! blocks, and an answer that is missing is an error at once.

use std::os::fd::{AsFd, OwnedFd};

use netlink_sys::{Socket as RawSocket, SocketAddr};

use super::message::{Message, attributes, path_of, str_of, u32_of};
use super::transaction::Transaction;
use crate::error::{Context, Errno, Error, Result};
use crate::ns::{Kind, open_in};

const NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const NLM_F_ACK: u16 = libc::NLM_F_ACK as u16;
const NLM_F_DUMP: u16 = libc::NLM_F_DUMP as u16;
const NLM_F_EXCL: u16 = libc::NLM_F_EXCL as u16;
pub(super) const NLM_F_CREATE: u16 = libc::NLM_F_CREATE as u16;
/// Has what was made told as in a dump.
pub(super) const NLM_F_ECHO: u16 = libc::NLM_F_ECHO as u16;
const NLM_F_DUMP_INTR: u16 = 0x10;
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
const NLMSGERR_ATTR_MISS_TYPE: u16 = 5;
const NLMSGERR_ATTR_MISS_NEST: u16 = 6;

/// How many requests go out in one datagram: their acknowledgements always fit into the receive buffer.
pub(super) const BATCH: usize = 32;
/// No request of ours is longer; the length of an attribute is a 16-bit number that must not wrap around.
const REQUEST_MAX: usize = 16 * 1024;
/// The kernel makes no datagram of a dump longer than 32 KiB.
const REPLY_MAX: usize = 64 * 1024;
/// How often a call may be interrupted, or an answer be none, before that is an error.
const PATIENCE: usize = 64;

/// One thing that the kernel is asked to do, and how to take it back.
#[derive(Clone, Debug)]
#[must_use]
pub struct Request {
    pub(super) operation: &'static str,
    pub(super) object: String,
    pub(super) message: Message,
    pub(super) flags: u16,
    pub(super) undo: Option<Message>,
    /// Asks for what is to be made: what was there before is not taken back.
    pub(super) probe: Option<Message>,
    /// A link and its master, which may lose addresses, routes, neighbours or settings by this, and again when it is undone.
    pub(super) touches: Option<[u32; 2]>,
    /// A link, and the hardware address that it is to have again when this is undone.
    pub(super) address: Option<(u32, Vec<u8>)>,
}

impl Request {
    /// Makes something new: EEXIST where it is there already (`NLM_F_CREATE | NLM_F_EXCL`). `undo` deletes it.
    pub(super) fn create(operation: &'static str, object: impl ToString, message: Message, undo: Message) -> Self {
        Request::change(operation, object, message, Some(undo)).with_flags(NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Changes or deletes what is there.
    pub(super) fn change(
        operation: &'static str,
        object: impl ToString,
        message: Message,
        undo: Option<Message>,
    ) -> Self {
        let object = object.to_string();
        Request { operation, object, message, flags: 0, undo, probe: None, touches: None, address: None }
    }

    pub(super) fn with_flags(self, flags: u16) -> Self {
        Request { flags, ..self }
    }

    /// The same, which `probe` finds where it exists; for what the kernel makes again without an error, and for what would stay
    /// if its answer was lost.
    pub(super) fn unless_found(self, probe: Message) -> Self {
        Request { probe: Some(probe), ..self }
    }

    /// The same, which may cost a link and its master (0: none) more than the change.
    pub(super) fn touching(self, index: u32, master: u32) -> Self {
        Request { touches: Some([index, master]), ..self }
    }

    /// The same, which also gives a link its hardware address back when it is undone: a bridge takes over that of a port, and
    /// has none when the last one goes.
    pub(super) fn keeping_address(self, index: u32, address: &[u8]) -> Self {
        Request { address: Some((index, address.to_vec())), ..self }
    }

    /// The same, never undone by the namespace that it is sent in.
    pub(super) fn elsewhere(self) -> Self {
        Request { undo: None, probe: None, ..self }
    }

    pub(super) fn message(&self) -> &Message {
        &self.message
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
    buffer: Vec<u8>,
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
        Ok(Socket { socket, sequence: 0, buffer: Vec::with_capacity(REPLY_MAX) })
    }

    /// Has the kernel send only what a dump asks for (Linux 4.20); before, it sends all.
    pub(super) fn be_strict(&mut self) {
        let _ = self.socket.set_netlink_get_strict_chk(true);
    }

    /// Opens a socket in another network namespace. A child goes there: the caller stays where it is.
    ///
    /// # Errors
    /// EPERM: setns(2) needs CAP_SYS_ADMIN both in the caller's user namespace and in the one that owns `netns`, unless the
    /// caller may enter that one. EINVAL: `netns` is no network namespace. Those of [`Socket::open`].
    pub fn open_in(netns: impl AsFd) -> Result<Self> {
        Socket::set_up(open_in(netns.as_fd(), Kind::Net, &"", &[], &raw)?.context(OPEN, "")?)
    }

    /// Starts a series of requests that is undone as a whole unless it is [committed](Transaction::commit).
    pub fn begin(&mut self) -> Transaction<'_> {
        Transaction::new(self)
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
        self.ask(request, 0).map(|(messages, _)| messages)
    }

    /// Asks for all there is of a kind. What changes meanwhile may be missing or be there twice: then once more.
    pub(super) fn dump(&mut self, request: &Request) -> Result<Vec<Message>> {
        for _ in 0..PATIENCE {
            if let (messages, false) = self.ask(request, NLM_F_DUMP)? {
                return Ok(messages);
            }
        }
        Err(request.error(Errno::EAGAIN).with_reason("it changes faster than it can be read"))
    }

    /// The messages that answer a request, and whether something changed while they were collected.
    fn ask(&mut self, request: &Request, flags: u16) -> Result<(Vec<Message>, bool)> {
        let mut answers = Answers::default();
        let result = self.exchange(std::slice::from_ref(request), flags, &mut answers).pop().flatten();
        result.unwrap_or(Ok(()))?;
        match answers.fault {
            Some(fault) => Err(fault.of(request)),
            None => Ok((answers.messages.into_iter().map(|(_, message)| message).collect(), answers.interrupted)),
        }
    }

    /// Whether the kernel lets this socket change links: a change of a link that cannot exist is refused with EPERM or,
    /// where the rights are there, with another error.
    pub(super) fn may_change(&mut self) -> bool {
        let message = Message::link(libc::RTM_NEWLINK, 0, 0, 0);
        let request = Request::change("probe", "", message, None);
        !matches!(self.query(&request), Err(error) if error.errno() == Errno::EPERM)
    }

    /// Sends up to [`BATCH`] requests in one datagram; one result for each, `None` where what became of it is not known.
    pub(super) fn exchange(
        &mut self,
        requests: &[Request],
        flags: u16,
        answers: &mut Answers,
    ) -> Vec<Option<Result<()>>> {
        let first = self.sequence.wrapping_add(1);
        let mut results: Vec<Option<Result<()>>> = vec![None; requests.len()];
        match self.send(requests, flags) {
            Ok(()) => {
                let mut buffer = std::mem::take(&mut self.buffer);
                self.receive(&mut buffer, first, requests, &mut results, answers);
                self.buffer = buffer;
            }
            Err(fault) => answers.fault = Some(fault),
        }
        if results.iter().any(Option::is_none) && answers.fault.is_none() {
            answers.fault = Some(Fault(Errno::EPROTO, "the kernel gave no answer".into()));
        }
        results
    }

    fn send(&mut self, requests: &[Request], flags: u16) -> std::result::Result<(), Fault> {
        let mut datagram = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let length = HEADER + request.message.bytes.len();
            if length > REQUEST_MAX {
                let reason = format!("the request has {length} bytes, at most {REQUEST_MAX} are sent");
                return Err(Fault(Errno::EMSGSIZE, reason));
            }
            datagram.extend((length as u32).to_ne_bytes());
            datagram.extend(request.message.kind.to_ne_bytes());
            datagram.extend((NLM_F_REQUEST | NLM_F_ACK | request.flags | flags).to_ne_bytes());
            datagram.extend(self.sequence.to_ne_bytes());
            datagram.extend([0; 4]);
            datagram.extend(&request.message.bytes);
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.socket.send(&datagram, 0).map_err(errno) {
                Ok(sent) if sent == datagram.len() => return Ok(()),
                Ok(_) => return Err(Fault(Errno::EIO, "the request was sent in part".into())),
                Err(Errno::EINTR) if tries < PATIENCE => continue,
                Err(errno) => return Err(Fault(errno, "the request cannot be sent".into())),
            }
        }
    }

    /// Reads until each request has its answer, or there is no more. What is lost or malformed is remembered; what follows it may
    /// still be what is waited for.
    fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        first: u32,
        requests: &[Request],
        results: &mut [Option<Result<()>>],
        answers: &mut Answers,
    ) {
        let mut faults = 0;
        while results.iter().any(Option::is_none) && faults < PATIENCE {
            // what is not written now is not to be read again
            buffer.clear();
            buffer.resize(HEADER, 0);
            buffer.clear();
            let received = self.socket.recv_from(buffer, libc::MSG_DONTWAIT | libc::MSG_TRUNC);
            let fault = match received.map_err(errno) {
                Ok((_, sender)) if sender.port_number() != 0 => None,
                Ok((length, _)) => match buffer.get(..length) {
                    Some(datagram) => match read(datagram, first, requests, results, answers) {
                        Ok(true) => continue,
                        Ok(false) => None,
                        Err(reason) => Some(Fault(Errno::EPROTO, reason.into())),
                    },
                    None => {
                        let reason = format!("the kernel's answer has {length} bytes, it was cut off");
                        Some(Fault(Errno::EMSGSIZE, reason))
                    }
                },
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => None,
                Err(errno) => Some(Fault(errno, "the kernel's answer was lost".into())),
            };
            answers.fault = answers.fault.take().or(fault);
            faults += 1;
        }
    }
}

/// Takes the answers in one datagram; whether there were any.
fn read(
    datagram: &[u8],
    first: u32,
    requests: &[Request],
    results: &mut [Option<Result<()>>],
    answers: &mut Answers,
) -> std::result::Result<bool, &'static str> {
    let mut some = false;
    for reply in replies(datagram) {
        let reply = reply?;
        let slot = reply.sequence.wrapping_sub(first) as usize;
        let (Some(result), Some(request)) = (results.get_mut(slot), requests.get(slot)) else {
            continue; // the late answer to an earlier request
        };
        some = true;
        answers.interrupted |= reply.interrupted;
        match reply.body {
            Body::End { code: 0, .. } => *result = Some(Ok(())),
            Body::End { code, words } => {
                let error = request.error(Errno::from_raw(code.saturating_neg()));
                let reason = words.reason(&request.message).map(|text| format!("{}: {text}", error.reason()));
                *result = Some(Err(match reason {
                    Some(reason) => error.with_reason(reason),
                    None => error,
                }));
            }
            Body::Message(message) => answers.messages.push((slot, message)),
        }
    }
    Ok(some)
}

/// What came besides the acknowledgements.
#[derive(Default)]
pub(super) struct Answers {
    /// Each with the place of the request that it answers.
    pub(super) messages: Vec<(usize, Message)>,
    /// What a dump listed changed meanwhile.
    interrupted: bool,
    pub(super) fault: Option<Fault>,
}

/// Why an answer is missing.
pub(super) struct Fault(Errno, String);

impl Fault {
    pub(super) fn of(&self, request: &Request) -> Error {
        request.error(self.0).with_reason(self.1.clone())
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
    interrupted: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// The acknowledgement, or the end of a dump: 0 or a negative errno.
    End { code: i32, words: Words },
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
        Some(body.map(|body| Reply { sequence, interrupted: flags & NLM_F_DUMP_INTR != 0, body }))
    })
}

/// Reads an acknowledgement: the code, the header of the request (all of it unless it is capped), attributes.
fn end(kind: u16, flags: u16, payload: &[u8]) -> std::result::Result<Body, &'static str> {
    let (code, rest) = match payload.split_first_chunk() {
        Some((code, rest)) => (i32::from_ne_bytes(*code), rest),
        None if kind == NLMSG_DONE => (0, payload),
        None => return Err("the kernel's acknowledgement is too short"),
    };
    let words = if flags & NLM_F_ACK_TLVS == 0 {
        Words::default()
    } else if kind == NLMSG_DONE {
        Words::read(rest)
    } else {
        let echoed = match u32_of(rest) {
            Some(length) if flags & NLM_F_CAPPED == 0 => (length as usize).max(HEADER),
            _ => HEADER,
        };
        let words = echoed.checked_next_multiple_of(4).and_then(|end| rest.get(end..));
        words.map(Words::read).unwrap_or_default()
    };
    Ok(Body::End { code, words })
}

/// The kernel's own words in an extended acknowledgement.
#[derive(Debug, Default)]
struct Words {
    text: Option<String>,
    /// Where in the request, its header included, the offending attribute begins; or the one in which another is missing.
    offset: Option<usize>,
    nest: Option<usize>,
    missing: Option<u16>,
}

impl Words {
    fn read(bytes: &[u8]) -> Words {
        let mut words = Words::default();
        for (kind, value) in attributes(bytes) {
            let number = u32_of(value);
            match kind {
                NLMSGERR_ATTR_MSG => words.text = Some(str_of(value).replace(char::is_control, " ")),
                NLMSGERR_ATTR_OFFS => words.offset = number.map(|number| number as usize),
                NLMSGERR_ATTR_MISS_TYPE => words.missing = number.and_then(|number| number.try_into().ok()),
                NLMSGERR_ATTR_MISS_NEST => words.nest = number.map(|number| number as usize),
                _ => {}
            }
        }
        words
    }

    /// What they say about this request.
    fn reason(&self, request: &Message) -> Option<String> {
        let path =
            |offset: Option<usize>, more| path_of(request, offset.map_or(0, |at| at.saturating_sub(HEADER)), more);
        let about = match (self.missing, self.offset) {
            (Some(missing), _) => format!("{} is missing", path(self.nest, Some(missing))),
            (None, Some(_)) => path(self.offset, None),
            (None, None) => return self.text.clone(),
        };
        Some(match &self.text {
            Some(text) => format!("{text} ({about})"),
            None => about,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Link;
    use crate::net::keep;
    use crate::net::link::info_kind;

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
            let Body::End { code, words } = reply.body else { panic!("no acknowledgement") };
            assert_eq!((code, words.text.as_deref()), (-22, Some("no good")));
        }
        attributes.extend([8, 0, 2, 0, 40, 0, 0, 0]);
        let bytes = ack(7, -22, NLM_F_ACK_TLVS | NLM_F_CAPPED, 16, &attributes);
        let Body::End { words, .. } = replies(&bytes).next().unwrap().unwrap().body else {
            panic!("no acknowledgement")
        };
        let request =
            Message::link(libc::RTM_NEWLINK, 1, 0, 0).with_u32(libc::IFLA_MASTER, 2).with_u32(libc::IFLA_MTU, 7);
        assert_eq!(words.reason(&request).as_deref(), Some("no good (IFLA_MTU)"));
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
    fn a_missing_attribute_and_an_interrupted_dump_are_told() {
        let request = Message::address(libc::RTM_NEWADDR, libc::AF_INET as u8, 8, 0, 0, 1);
        let words = Words::read(&[8, 0, NLMSGERR_ATTR_MISS_TYPE as u8, 0, 2, 0, 0, 0]);
        assert_eq!(words.reason(&request).as_deref(), Some("IFA_LOCAL is missing"));
        let request = Request::change("list", "", request, None);
        let (mut results, mut answers) = (vec![None], Answers::default());
        let datagram = ack(1, 0, NLM_F_DUMP_INTR, 16, &[]);
        read(&datagram, 1, &[request], &mut results, &mut answers).unwrap();
        assert!(answers.interrupted && matches!(results[..], [Some(Ok(()))]));
    }

    #[test]
    fn no_answer_of_any_shape_panics_or_hangs() {
        // what the kernel says about a link, an address, a route with two next hops, a neighbour and a failure
        let attributes = |message: Message| {
            message.with_u32(1, 7).with_str(3, "eth0").with(18, &[12, 0, 2, 0, 8, 0, 1, 0, 1, 2, 3, 4])
        };
        let hops = [16u8, 0, 0, 0, 3, 0, 0, 0, 8, 0, 5, 0, 10, 0, 0, 1].repeat(2);
        let messages = [
            attributes(Message::link(libc::RTM_NEWLINK, 3, 1, 0)),
            attributes(Message::address(libc::RTM_NEWADDR, 2, 24, 0, 0, 3)),
            attributes(Message::route(libc::RTM_NEWROUTE, 2, 8, 254, 0, 1, 0)).with(libc::RTA_MULTIPATH, &hops),
            attributes(Message::neighbour(libc::RTM_NEWNEIGH, 2, 3, 0x80, 0)),
        ];
        let requests: Vec<_> =
            messages.iter().map(|message| Request::change("ask", "", message.clone(), None)).collect();
        let mut datagram = Vec::new();
        for message in &messages {
            datagram.extend((16 + message.bytes.len() as u32).to_ne_bytes());
            datagram.extend(message.kind.to_ne_bytes());
            datagram.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
            datagram.extend(&message.bytes);
        }
        datagram.extend(ack(
            2,
            -22,
            NLM_F_ACK_TLVS,
            32,
            &[text_attribute(b"no\0"), vec![8, 0, 2, 0, 20, 0, 0, 0]].concat(),
        ));
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for _ in 0..200_000 {
            let mut mangled = datagram.clone();
            for _ in 0..=random(4) {
                let at = random(mangled.len());
                mangled[at] = [random(256) as u8, 0, 1, 4, 8, 0xff][random(6)];
            }
            mangled.truncate(datagram.len() - random(3) * random(40));
            let (mut results, mut answers) = (vec![None; requests.len()], Answers::default());
            let _ = read(&mangled, 1, &requests, &mut results, &mut answers);
            for (_, message) in &answers.messages {
                let _ = (Link::read(message), info_kind(message), keep::entry(message), keep::is_of(message, 3));
                let _ = path_of(message, random(80), Some(1));
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
