//! [`Rule`]: which routing table is asked for which packets.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::InterfaceName;
use super::address::{Prefix, family};
use super::message::{Message, header_of, u32_of};
use super::netlink::{Answers, BATCH, NLM_F_CREATE, NLM_F_ECHO, Request, Socket};
use super::route::RouteKind;
use crate::error::{Error, Result, show};

/// A rule as in ip-rule(8):
/// `[from=PREFIX][,to=PREFIX][,iif=NAME][,oif=NAME][,fwmark=N[/MASK]][,priority=N],table=N|blackhole|unreachable|prohibit`.
/// Without a prefix it is for IPv4; `inet6` says IPv6. Without a priority the kernel puts it before the others.
///
/// ```
/// use libctr::net::Rule;
/// assert!("from=10.0.0.0/24,table=100".parse::<Rule>().is_ok());
/// assert!("inet6,fwmark=1/0xff,priority=50,table=100".parse::<Rule>().is_ok());
/// assert!("from=10.0.0.0/24".parse::<Rule>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    text: String,
    v6: bool,
    from: Option<Prefix>,
    to: Option<Prefix>,
    iif: Option<InterfaceName>,
    oif: Option<InterfaceName>,
    mark: Option<(u32, u32)>,
    priority: Option<u32>,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Table(u32),
    DeadEnd(RouteKind),
}

impl Rule {
    /// The request that adds the rule.
    pub fn add(&self) -> Request {
        // FR_ACT_* and FRA_* of linux/fib_rules.h
        let (action, table) = match self.action {
            Action::Table(table) => (1, Some(table)),
            Action::DeadEnd(kind) => (kind as u8, None),
        };
        let length = |prefix: Option<Prefix>| prefix.map_or(0, |prefix| prefix.length());
        let lengths = [length(self.to), length(self.from)];
        let family = family(if self.v6 { IpAddr::V6([0; 16].into()) } else { IpAddr::V4([0; 4].into()) });
        let mut message = Message::rule(libc::RTM_NEWRULE, family, lengths, action);
        for (kind, prefix) in [(1, self.to), (2, self.from)] {
            if let Some(prefix) = prefix.filter(|prefix| prefix.length() > 0) {
                message = message.with_ip(kind, prefix.ip());
            }
        }
        for (kind, name) in [(3, &self.iif), (17, &self.oif)] {
            if let Some(name) = name {
                message = message.with_str(kind, name.as_str());
            }
        }
        message = message
            .with_some_u32(6, self.priority)
            .with_some_u32(10, self.mark.map(|(mark, _)| mark))
            .with_some_u32(16, self.mark.map(|(_, mask)| mask))
            .with_some_u32(15, table);
        let undo = message.of_kind(libc::RTM_DELRULE);
        let request = Request::create("add rule", self, message, undo);
        // which priority it got, and all else that tells it from others
        let flags = request.flags | NLM_F_ECHO;
        request.with_flags(flags)
    }
}

/// Deletes a rule that was added, the last of its priority that is as the kernel said that it `made` it. What is to be deleted is
/// a pattern, in which all that is missing fits anything, and the first rule that fits goes: where one before it would, all of
/// that priority are made again without it, in one datagram.
pub(super) fn take_back(socket: &mut Socket, object: &str, made: &Message) -> Result<()> {
    const PRIORITY: u16 = 6;
    let priority = |rule: &Message| {
        let told = rule.attributes(header_of(rule.kind)).find(|(kind, _)| *kind == PRIORITY);
        told.and_then(|(_, value)| u32_of(value)).unwrap_or(0)
    };
    let request = |message| Request::change("undo", object, message, None);
    let made = as_made(made);
    let family = made.bytes.first().copied().unwrap_or_default();
    let pattern = |action| Message::rule(libc::RTM_GETRULE, family, [0; 2], action);
    let listed = socket.dump(&request(pattern(0)))?;
    let listed = listed.iter().filter(|rule| rule.kind == libc::RTM_NEWRULE && priority(rule) == priority(&made));
    let mut listed: Vec<Message> = listed.map(as_made).collect();
    let Some(at) = listed.iter().rposition(|rule| *rule == made) else { return Ok(()) };
    let one = made.of_kind(libc::RTM_DELRULE).with_u32(PRIORITY, priority(&made));
    if !listed[..at].iter().any(|older| may_fit(&made, older)) {
        return socket.query(&request(one)).map(drop);
    }
    let any = pattern(0).of_kind(libc::RTM_DELRULE).with_u32(PRIORITY, priority(&made));
    let mut requests = vec![request(any); listed.len()];
    listed.remove(at);
    // not NLM_F_EXCL, with which the kernel takes one for another that is about fewer addresses
    requests.extend(listed.into_iter().map(|rule| request(rule).with_flags(NLM_F_CREATE)));
    let mut first = Ok(());
    for batch in requests.chunks(BATCH) {
        let mut answers = Answers::default();
        let results = socket.exchange(batch, 0, &mut answers).into_iter().flatten();
        first = first.and(results.collect());
        first = first.and(answers.fault.map_or(Ok(()), |fault| Err(fault.of(&batch[0]))));
    }
    first
}

/// A rule as the kernel tells it, without what it finds out itself.
fn as_made(rule: &Message) -> Message {
    /// `FIB_RULE_PERMANENT`, `FIB_RULE_INVERT` and `FIB_RULE_FIND_SADDR`.
    const ASKED: u32 = 0x10003;
    let mut rule = rule.clone();
    let flags = rule.header_u32(8).unwrap_or_default() & ASKED;
    if let Some(place) = rule.bytes.get_mut(8..12) {
        place.copy_from_slice(&flags.to_ne_bytes());
    }
    rule
}

/// Whether `older` may be what a request to delete `rule` finds. That a value means anything is told by all zeroes or ones.
fn may_fit(rule: &Message, older: &Message) -> bool {
    let anything = |value: &[u8]| value.iter().all(|byte| *byte == 0) || value.iter().all(|byte| *byte == 0xff);
    let mut attributes = rule.attributes(header_of(rule.kind));
    attributes.all(|attribute| {
        anything(attribute.1) || older.attributes(header_of(older.kind)).any(|other| other == attribute)
    })
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("parse rule", show(text), reason);
        let (mut v6, mut from, mut to, mut iif, mut oif) = (false, None, None, None, None);
        let (mut mark, mut priority, mut action) = (None, None, None);
        for part in text.split(',') {
            let number = |value: &str| {
                let (digits, radix) = value.strip_prefix("0x").map_or((value, 10), |hex| (hex, 16));
                let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let number = u32::from_str_radix(digits, radix).ok().filter(|_| valid);
                number.ok_or_else(|| invalid(format!("{part:?} needs a number from 0 to 4294967295")))
            };
            let twice = match part.split_once('=') {
                None if part == "inet6" => std::mem::replace(&mut v6, true),
                None if RouteKind::dead_end(part).is_some() => {
                    action.replace(RouteKind::dead_end(part).map(Action::DeadEnd)).is_some()
                }
                Some(("from", value)) => from.replace(value.parse::<Prefix>()?).is_some(),
                Some(("to", value)) => to.replace(value.parse::<Prefix>()?).is_some(),
                Some(("iif", value)) => iif.replace(value.parse::<InterfaceName>()?).is_some(),
                Some(("oif", value)) => oif.replace(value.parse::<InterfaceName>()?).is_some(),
                Some(("priority", value)) => priority.replace(number(value)?).is_some(),
                Some(("fwmark", value)) => {
                    let (value, mask) = value.split_once('/').unwrap_or((value, "0xffffffff"));
                    mark.replace((number(value)?, number(mask)?)).is_some()
                }
                Some(("table", "main")) => action.replace(Some(Action::Table(libc::RT_TABLE_MAIN.into()))).is_some(),
                Some(("table", value)) => match number(value)? {
                    0 => return Err(invalid("table 0 is no table".into())),
                    table => action.replace(Some(Action::Table(table))).is_some(),
                },
                _ => {
                    let known = "inet6, from=PREFIX, to=PREFIX, iif=NAME, oif=NAME, fwmark=N[/MASK], priority=N, table=N, \
                                 blackhole, unreachable, prohibit";
                    return Err(invalid(format!("{part:?} is none of {known}")));
                }
            };
            if twice {
                return Err(invalid(format!("{part:?} says again what was said")));
            }
        }
        let Some(action) = action.flatten() else {
            return Err(invalid("needs table=N, or blackhole, unreachable, prohibit".into()));
        };
        let prefixes = [from, to].into_iter().flatten();
        let families: Vec<bool> = prefixes.map(|prefix: Prefix| prefix.ip().is_ipv6()).collect();
        v6 |= families.contains(&true);
        if families.contains(&!v6) {
            return Err(invalid("its prefixes are of two address families".into()));
        }
        Ok(Rule { text: text.to_owned(), v6, from, to, iif, oif, mark, priority, action })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;
    use crate::net::tests::in_new_netns;

    #[test]
    fn parses_what_is_a_rule_and_nothing_else() {
        for bad in [
            "",
            "from=10.0.0.0/8",
            "table=0",
            "table=x",
            "table=1,table=2",
            "table=1,blackhole",
            "from=10.0.0.1/8,table=1",
            "from=10.0.0.0/8,to=::/0,table=1",
            "inet6,from=10.0.0.0/8,table=1",
            "fwmark=1/,table=1",
            "iif=a%d,table=1",
            "x,table=1",
        ] {
            assert_eq!(bad.parse::<Rule>().unwrap_err().errno(), Errno::EINVAL, "{bad}");
        }
    }

    #[test]
    fn adds_rules_of_both_families_and_takes_them_back() {
        in_new_netns(|| {
            let mut socket = Socket::open().unwrap();
            let texts = [
                "from=10.0.0.0/8,to=192.0.2.0/24,priority=10,table=100",
                "inet6,iif=lo,oif=lo,fwmark=0x10/0xff,priority=11,table=1000",
                "from=2001:db8::/32,priority=12,unreachable",
                "priority=13,prohibit",
                "priority=14,blackhole",
            ];
            for text in texts {
                let request = text.parse::<Rule>().unwrap().add();
                socket.run(std::slice::from_ref(&request)).unwrap();
                let error = socket.run(&[request]).unwrap_err();
                assert_eq!((error.operation(), error.errno()), ("add rule", Errno::EEXIST), "{text}");
            }
            let good = "to=10.0.0.0/8,priority=50,table=7".parse::<Rule>().unwrap().add();
            let again = texts[0].parse::<Rule>().unwrap().add();
            assert!(socket.run(&[good.clone(), again]).is_err());
            // it was undone
            socket.run(&[good]).unwrap();
        });
    }
}
