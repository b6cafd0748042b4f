//! [`Transaction`]: requests that stand or fall together.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::keep::{self, Kept};
use super::link::info_kind;
use super::message::{Message, str_of};
use super::netlink::{Answers, BATCH, NLM_F_CREATE, Request, Socket};
use super::{InterfaceName, Link, Sysctl, rule};
use crate::error::{Context, Errno, Error, Result};

/// Requests that stand or fall together.
#[derive(Debug)]
#[must_use = "what it did is undone when it is dropped"]
pub struct Transaction<'a> {
    socket: &'a mut Socket,
    undo: Vec<Undo>,
    /// The links that it made, by name, and those of them that were looked up, by number: they have nothing to lose.
    made: Vec<InterfaceName>,
    own: Vec<u32>,
    kept: Vec<Kept>,
}

#[derive(Debug)]
enum Undo {
    Request(Request),
    /// What a rule is called, and what the kernel says of it.
    Rule(String, Message),
    Sysctl(Sysctl, Option<OwnedFd>),
    /// It cannot be undone, for this reason.
    Never(Error),
    /// A link of this name in another network namespace: back to this one, where it had this number, or deleted.
    There(Socket, InterfaceName, Option<(OwnedFd, u32)>),
}

impl<'a> Transaction<'a> {
    pub(super) fn new(socket: &'a mut Socket) -> Transaction<'a> {
        Transaction { socket, undo: Vec::new(), made: Vec::new(), own: Vec::new(), kept: Vec::new() }
    }
}

impl Transaction<'_> {
    /// Carries out these requests too. Where one fails, everything that the transaction did is undone.
    ///
    /// # Errors
    /// That of the first request that failed. What could not be undone is in the hint.
    pub fn run(&mut self, requests: &[Request]) -> Result<()> {
        for batch in requests.chunks(BATCH) {
            if let Err(error) = self.run_batch(batch) {
                return Err(self.undo(error));
            }
        }
        Ok(())
    }

    fn run_batch(&mut self, batch: &[Request]) -> Result<()> {
        for request in batch {
            for index in request.touches.into_iter().flatten().filter(|index| *index != 0) {
                if self.keep(index)? {
                    let uppers: Vec<_> =
                        self.socket.links()?.iter().filter(|upper| upper.is_on(index)).map(Link::index).collect();
                    uppers.into_iter().try_for_each(|upper| self.keep(upper).map(drop))?;
                }
            }
            request.address.iter().try_for_each(|(index, _)| self.keep(*index).map(drop))?;
        }
        let absent = self.absent(batch)?;
        let mut answers = Answers::default();
        let results = self.socket.exchange(batch, 0, &mut answers);
        for (slot, ((request, result), absent)) in batch.iter().zip(&results).zip(absent).enumerate() {
            let done = match (result, absent) {
                (Some(Err(_)), _) => continue,
                // of a proxy that was there already the kernel says nothing; all else that it has made is ours
                (Some(Ok(())), absent) => absent.unwrap_or(true) || request.message.kind != libc::RTM_NEWNEIGH,
                // to set a former value again does no harm
                (None, None) => request.flags & NLM_F_CREATE == 0,
                (None, Some(absent)) => absent && self.may_be_ours(request),
            };
            if done {
                let made = answers.messages.iter().find(|(of, _)| *of == slot).map(|(_, made)| made);
                self.remember(request, made);
            }
        }
        let failed = batch.iter().zip(results).find_map(|(request, result)| match (result, &answers.fault) {
            (Some(Err(error)), _) => Some(error),
            (None, Some(fault)) if request.probe.is_none() && request.flags & NLM_F_CREATE != 0 => {
                Some(fault.of(request).with_hint("it may have been done, and be left where its link is"))
            }
            (None, Some(fault)) => Some(fault.of(request)),
            _ => None,
        });
        failed.map_or(Ok(()), |error| Err(explain(error, self.socket, batch)))
    }

    /// Of each request with a probe, whether what it makes is not there yet.
    fn absent(&mut self, batch: &[Request]) -> Result<Vec<Option<bool>>> {
        let probe = |request: &Request| Some(Request { message: request.probe.clone()?, flags: 0, ..request.clone() });
        let probes: Vec<Request> = batch.iter().filter_map(probe).collect();
        if probes.is_empty() {
            return Ok(vec![None; batch.len()]);
        }
        let mut answers = Answers::default();
        let mut found = self.socket.exchange(&probes, 0, &mut answers).into_iter();
        let absent = batch.iter().map(|request| match (&request.probe, &answers.fault) {
            (None, _) => Ok(None),
            (Some(_), fault) => match (found.next().flatten(), fault) {
                (Some(Ok(())), _) => Ok(Some(false)),
                (Some(Err(error)), _) => Ok(Some(is_gone(&error))),
                (None, Some(fault)) => Err(fault.of(request)),
                (None, None) => Ok(Some(false)),
            },
        });
        absent.collect()
    }

    fn remember(&mut self, request: &Request, made: Option<&Message>) {
        let object = format!("{} {}", request.operation, request.object);
        if let Some((index, address)) = &request.address {
            let message = Message::link(libc::RTM_NEWLINK, *index, 0, 0).with(libc::IFLA_ADDRESS, address);
            let request = Request::change("undo", &object, message, None);
            self.undo.push(Undo::Request(request.keeping_address(*index, address)));
        }
        if let Some(made) = made.filter(|made| made.kind == libc::RTM_NEWRULE) {
            self.undo.push(Undo::Rule(object, made.clone()));
        } else if let Some(message) = &request.undo {
            self.undo.push(Undo::Request(Request::change("undo", object, message.clone(), None)));
        }
        if (request.message.kind, request.flags & NLM_F_CREATE) == (libc::RTM_NEWLINK, NLM_F_CREATE) {
            self.made.extend(
                request
                    .message
                    .attributes(16)
                    .find_map(|(kind, value)| (kind == libc::IFLA_IFNAME).then(|| str_of(value).parse().ok())?),
            );
        }
    }

    /// Whether what a request without an answer was to make, and was not there before, is there.
    fn may_be_ours(&mut self, request: &Request) -> bool {
        let Some(probe) = request.probe.clone() else { return false };
        match self.socket.query(&Request::change("find", "", probe, None)) {
            Ok(found) => found.iter().all(|found| info_kind(found) == info_kind(&request.message)),
            Err(error) => !is_gone(&error),
        }
    }

    /// Remembers what a link has, unless the transaction made it, to give it back should all be undone; whether that was new.
    fn keep(&mut self, index: u32) -> Result<bool> {
        let new = !self.own.contains(&index) && !self.kept.iter().any(|kept| kept.index() == Some(index));
        if new {
            self.kept.push(Kept::of(self.socket, index)?);
        }
        Ok(new)
    }

    /// Whether nothing has been done yet that would be undone.
    pub(super) fn is_empty(&self) -> bool {
        self.undo.is_empty()
    }

    /// The socket, for queries between the requests.
    pub fn socket(&mut self) -> &mut Socket {
        self.socket
    }

    /// The link of this name.
    ///
    /// # Errors
    /// ENODEV: there is none in the socket's network namespace.
    pub fn link(&mut self, name: &InterfaceName) -> Result<Link> {
        let link = self.socket.link(name)?;
        if self.made.contains(name) {
            self.own.push(link.index());
        }
        Ok(link)
    }

    /// Takes the link for one that was made for this transaction, as the peer of a veth pair was: it has nothing to lose, so that
    /// nothing of it has to be asked for before it changes.
    pub fn own(&mut self, link: &Link) {
        self.own.push(link.index());
    }

    /// Sets a setting of the transaction's network namespace, `netns`, by default the caller's. Settings that change with it are
    /// restored with it, and what it takes from the links. One whose former value cannot be read is set, and not restored. A
    /// failure undoes nothing else.
    ///
    /// # Errors
    /// Those of [`Sysctl::set`].
    pub fn set(&mut self, sysctl: &Sysctl, netns: Option<impl AsFd>) -> Result<()> {
        let netns = netns.as_ref().map(AsFd::as_fd);
        if sysctl.spreads().is_some() || sysctl.changes_addresses().is_some() || sysctl.makes_a_router() {
            if sysctl.is_set(netns)? && !sysctl.is_written_through() {
                return Ok(());
            }
            self.keep_for(sysctl, netns)?;
        }
        // first what may fail
        let owned = owned(netns)?;
        match sysctl.set(netns)? {
            Some(former) => self.undo.push(Undo::Sysctl(former, owned)),
            None if self.made.iter().any(|name| sysctl.is_of(name)) => {}
            None => self.undo.push(Undo::Never(sysctl.not_restored())),
        }
        Ok(())
    }

    fn keep_for(&mut self, sysctl: &Sysctl, netns: Option<BorrowedFd<'_>>) -> Result<()> {
        if sysctl.makes_a_router() && !self.kept.iter().any(|kept| kept.index().is_none()) {
            self.kept.push(Kept::routers(self.socket)?);
        }
        if sysctl.changes_addresses().is_none() && sysctl.spreads().is_none() {
            return Ok(());
        }
        let links = self.socket.links()?;
        for link in &links {
            if sysctl.changes_addresses().is_some_and(|name| name == "all" || name == link.name().as_str()) {
                self.keep(link.index())?;
            }
        }
        let Some((directory, setting)) = sysctl.spreads() else { return Ok(()) };
        let names = links.iter().map(|link| link.name().as_str()).chain(["default"]);
        let mut paths: Vec<_> = names.map(|name| format!("{directory}/{name}/{setting}")).collect();
        if directory == "net/ipv4/conf" {
            // a router takes no redirects
            paths.push(format!("{directory}/all/accept_redirects"));
        }
        for path in paths {
            match Sysctl::at(path).get(netns) {
                Ok(former) => self.undo.push(Undo::Sysctl(former, owned(netns)?)),
                // not every link has both families
                Err(error) if error.errno() == Errno::ENOENT => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves a link to another network namespace, where it is down and has no addresses. `there` is a socket in that one, without
    /// which it cannot be taken back.
    ///
    /// # Errors
    /// EEXIST: its name is taken there. EINVAL: the link belongs where it is. EPERM: no CAP_NET_ADMIN over one of the two. What
    /// could not be undone is in the hint.
    pub fn move_link(&mut self, link: &Link, netns: impl AsFd, there: Option<Socket>) -> Result<()> {
        let own = self.socket.netns()?;
        self.undo_there(there, link.name(), Some((own, link.index())));
        self.run(&[link.move_to(netns)])
    }

    /// Has the link of this name, which is to come to another network namespace, taken back should all be undone; not if another
    /// has the name there already.
    pub(super) fn undo_there(&mut self, there: Option<Socket>, name: &InterfaceName, back: Option<(OwnedFd, u32)>) {
        if let Some(mut there) = there
            && there.link(name).is_err_and(|error| error.errno() == Errno::ENODEV)
        {
            self.undo.push(Undo::There(there, name.clone(), back));
        }
    }

    /// Keeps what was done.
    pub fn commit(mut self) {
        self.undo.clear();
        self.kept.clear();
    }

    /// Has the link of this name deleted, should all be undone.
    pub(super) fn delete_on_undo(&mut self, name: &InterfaceName) {
        let message = Message::link(libc::RTM_DELLINK, 0, 0, 0).with_str(libc::IFLA_IFNAME, name.as_str());
        self.undo.push(Undo::Request(Request::change("undo", format!("create link {name}"), message, None)));
        self.made.push(name.clone());
    }

    /// Undoes everything, because of `error`; returns it, with what could not be undone in its hint.
    pub fn undo(&mut self, error: Error) -> Error {
        match self.rollback() {
            Ok(()) => error,
            Err(left) => error.with_hint(format!("not everything could be undone: {left}")),
        }
    }

    /// Undoes what was done, the last first. What is gone already is no error: an address goes with its link.
    fn rollback(&mut self) -> Result<()> {
        let mut first = Ok(());
        while let Some(undo) = self.undo.pop() {
            let result = match undo {
                Undo::Request(request) => self.take_back(&request),
                Undo::Rule(object, made) => rule::take_back(self.socket, &object, &made),
                Undo::Sysctl(sysctl, netns) => {
                    let restore = || sysctl.set(netns.as_ref()).map(drop);
                    keep::restoring(&mut self.kept, self.socket, restore)
                }
                Undo::Never(error) => Err(error),
                Undo::There(mut there, name, back) => match there.link(&name) {
                    Ok(link) => {
                        let request = back.as_ref().map_or_else(|| link.delete(), |back| link.move_back(back));
                        there.query(&request).map(drop)
                    }
                    Err(error) => Err(error),
                },
            };
            first = first.and(result.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) }));
        }
        let kept = std::mem::take(&mut self.kept);
        first.and(keep::give_back(&kept, self.socket))
    }

    fn take_back(&mut self, request: &Request) -> Result<()> {
        // an address that was set is no longer taken from a port: only where it changed
        let unchanged = |(index, address): &(u32, Vec<u8>)| {
            self.socket.link_at(*index).is_ok_and(|link| link.hardware_address() == address)
        };
        if request.address.as_ref().is_some_and(unchanged) {
            return Ok(());
        }
        self.socket.query(request).map(drop)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // The caller is on its way out with an error of its own; what cannot be undone has no one left to be told to.
        let _ = self.rollback();
    }
}

/// Whether a failure says that there is no such thing.
fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT)
}

/// Adds what a person can do about it.
fn explain(error: Error, socket: &mut Socket, batch: &[Request]) -> Error {
    let makes_a_link = |request: &Request| info_kind(&request.message).is_some() && request.flags & NLM_F_CREATE != 0;
    match error.errno() {
        Errno::EPERM if socket.may_change() => error.with_hint(
            "CAP_NET_ADMIN is there for this network namespace, but not in the user namespace that owns the other one",
        ),
        Errno::EPERM => {
            error.with_hint("this needs CAP_NET_ADMIN in the user namespace that owns this network namespace")
        }
        Errno::EBUSY if error.operation() == "rename link" => {
            error.with_hint("before Linux 6.2 a link has to be down for that")
        }
        Errno::EOPNOTSUPP if batch.iter().any(makes_a_link) => {
            error.with_hint("the kernel may lack the driver: is the module built and loaded?")
        }
        _ => error,
    }
}

fn owned(netns: Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>> {
    netns.map(|netns| netns.try_clone_to_owned()).transpose().context("duplicate", "network namespace")
}
