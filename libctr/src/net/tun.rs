//! [`Tun`]: devices whose other end is a program, see tun in the kernel's documentation.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use super::InterfaceName;
use super::transaction::Transaction;
use crate::error::{Context, Errno, Error, Result, show};
use crate::idmap::Id;
use crate::ns::{Kind, open_in};
use crate::sys::net::{self, TunSetting};

/// A tun device, which carries IP packets, or a tap device, which carries Ethernet frames:
/// `tun|tap[,user=N][,group=N][,multi_queue][,vnet_hdr]`.
///
/// ```
/// use libctr::net::Tun;
/// assert!("tap,user=1000,multi_queue".parse::<Tun>().is_ok());
/// assert!("tap,user=root".parse::<Tun>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tun {
    tap: bool,
    multi_queue: bool,
    vnet_hdr: bool,
    user: Option<Id>,
    group: Option<Id>,
}

impl Tun {
    /// Opens the device of this name in a network namespace, the caller's by default; made if it is missing, then gone with the
    /// descriptor. Packets come without the `struct tun_pi` (`IFF_NO_PI`).
    ///
    /// # Errors
    /// EBUSY: somebody has it open. EPERM: neither the device's user or group nor CAP_NET_ADMIN over the network namespace.
    /// EINVAL: it is no such device. ENOENT: there is no /dev/net/tun.
    #[doc(alias = "TUNSETIFF")]
    pub fn open(&self, name: &InterfaceName, netns: Option<impl AsFd>) -> Result<OwnedFd> {
        self.attach(name, netns.as_ref().map(AsFd::as_fd), 0)
    }

    fn attach(&self, name: &InterfaceName, netns: Option<BorrowedFd<'_>>, more: i32) -> Result<OwnedFd> {
        const DEVICE: &str = "/dev/net/tun";
        // the network namespace is decided when the device is opened
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let open = || openat(AT_FDCWD, DEVICE, flags, Mode::empty());
        let device = match netns {
            Some(netns) => open_in(netns, Kind::Net, &"", &[], &open)?,
            None => open(),
        };
        let device = device.context("open", DEVICE).map_err(|error| match error.errno() {
            Errno::ENOENT | Errno::ENODEV => {
                error.with_hint("the module tun is not loaded, or its node is missing here")
            }
            _ => error,
        })?;
        let mut flags = if self.tap { libc::IFF_TAP } else { libc::IFF_TUN } | libc::IFF_NO_PI | more;
        flags |= if self.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
        flags |= if self.vnet_hdr { libc::IFF_VNET_HDR } else { 0 };
        net::tun_attach(&device, name.as_str(), flags).map_err(|errno| {
            let error = Error::new("attach to tun device", name, errno);
            match errno {
                Errno::EPERM => {
                    error.with_hint("this needs CAP_NET_ADMIN in the user namespace that owns this network namespace")
                }
                Errno::EBUSY => error.with_reason("it exists, or is in use"),
                Errno::EINVAL => error.with_hint("a link of another kind has this name, or it has other flags"),
                _ => error,
            }
        })?;
        Ok(device)
    }

    /// Makes a device that stays, in the transaction's network namespace.
    pub(super) fn create(&self, transaction: &mut Transaction<'_>, name: &InterfaceName) -> Result<()> {
        // IFF_TUN_EXCL: what is there already is not ours
        const EXCL: i32 = 0x8000;
        let netns = transaction.socket().netns()?;
        let device = self.attach(name, Some(netns.as_fd()), EXCL)?;
        for (operation, setting, id) in
            [("set user of", TunSetting::User, self.user), ("set group of", TunSetting::Group, self.group)]
        {
            if let Some(id) = id {
                net::tun_set(&device, setting, id.get()).context(operation, name)?;
            }
        }
        net::tun_set(&device, TunSetting::Persist, 1).context("make persistent", name)?;
        transaction.delete_on_undo(name);
        Ok(())
    }
}

impl FromStr for Tun {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        let tap = match parts.next() {
            Some("tun") => false,
            Some("tap") => true,
            _ => return Err(Error::invalid("parse tun device", show(text), "is neither tun nor tap")),
        };
        let mut this = Tun { tap, multi_queue: false, vnet_hdr: false, user: None, group: None };
        for part in parts {
            match part.split_once('=') {
                None if part == "multi_queue" => this.multi_queue = true,
                None if part == "vnet_hdr" => this.vnet_hdr = true,
                Some(("user", id)) => this.user = Some(id.parse()?),
                Some(("group", id)) => this.group = Some(id.parse()?),
                _ => {
                    let reason = format!("{part:?} is none of user=N, group=N, multi_queue, vnet_hdr");
                    return Err(Error::invalid("parse tun device", show(text), reason));
                }
            }
        }
        Ok(this)
    }
}
