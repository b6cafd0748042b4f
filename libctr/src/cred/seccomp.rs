//! Compiled seccomp filters.

use crate::error::{Errno, Error, Fault, Object, Result};
use crate::sys::cred;

/// A compiled seccomp filter: an array of `struct sock_filter`, as seccomp_export_bpf(3) writes it.
#[derive(Clone, Debug)]
pub struct SeccompProgram(Vec<libc::sock_filter>);

impl SeccompProgram {
    /// The program in `bytes`, in the machine's byte order.
    ///
    /// # Errors
    /// EINVAL: not 1 to 4096 instructions of eight bytes. The kernel checks the rest when it is applied.
    pub fn new(bytes: &[u8]) -> Result<SeccompProgram> {
        let (instructions, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || !(1..=4096).contains(&instructions.len()) {
            let reason = "must be 1 to 4096 instructions of eight bytes: compiled BPF, not text";
            return Err(Error::invalid("read seccomp filter", format_args!("of {} bytes", bytes.len()), reason));
        }
        let read = |[a, b, jt, jf, c, d, e, f]: &[u8; 8]| libc::sock_filter {
            code: u16::from_ne_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes([*c, *d, *e, *f]),
        };
        Ok(SeccompProgram(instructions.iter().map(read).collect()))
    }
    /// Sets it for the calling thread.
    pub(super) fn apply(&self) -> std::result::Result<(), Fault<'static>> {
        cred::seccomp_filter(&self.0).map_err(|errno| {
            let fault = Fault::new("set seccomp filter", Object::None, errno);
            match errno {
                Errno::EACCES => fault.with_hint("this needs no_new_privs, or CAP_SYS_ADMIN among the permitted"),
                Errno::EINVAL => fault.with_hint("the kernel refuses this BPF program"),
                _ => fault,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_checked() {
        assert!(SeccompProgram::new(&[0; 7]).is_err() && SeccompProgram::new(&[]).is_err());
        assert!(SeccompProgram::new(&vec![0; 8 * 4097]).is_err() && SeccompProgram::new(&[0; 16]).is_ok());
    }
}
