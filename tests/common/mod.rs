//! Running the tools as a shell script does, in a world of their own.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a script left behind.
pub(crate) struct Run {
    /// Exit status; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// All of it, as text.
    pub(crate) stdout: String,
    /// All of it, as text.
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    /// The words of stdout.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.stdout.split_whitespace().collect()
    }
}

/// Where the tools under test are.
pub(crate) fn tools() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ctrtool")).parent().unwrap_or(Path::new("/")).to_owned()
}

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Seconds until a script counts as hanging: many times what the longest takes, as other tests and programs run beside it.
const PATIENCE: &str = "300";

/// Runs a script of sh(1) with the tools in PATH, where the caller is. For what changes nothing there.
pub(crate) fn sh(script: &str) -> Run {
    let path = format!("{}:{SYSTEM_PATH}", tools().display());
    Command::new("timeout")
        .args(["-k", "1", PATIENCE, "/bin/sh", "-c", script])
        .env("PATH", path)
        .output()
        .unwrap()
        .into()
}

/// Runs a script of sh(1) as root of an arena: own mount namespace with *shared* propagation, as most hosts have it and this
/// machine has not; own network, pid, ipc, uts and cgroup namespaces; empty /tmp and /run; the tools in /run/tools, the
/// repository's examples in /run/examples. What then differs from before, in links, addresses, routes, mounts, processes,
/// files, makes the run fail, since the tools must leave nothing behind.
pub(crate) fn arena(script: &str) -> Run {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    Command::new("timeout")
        .args([
            "-k",
            "1",
            PATIENCE,
            "unshare",
            "-m",
            "-n",
            "-p",
            "-i",
            "-u",
            "-C",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "--",
            "/bin/sh",
            "-c",
        ])
        .args([ARENA, "arena", script])
        .env("ARENA_TOOLS", tools())
        .env("ARENA_EXAMPLES", examples)
        .env("PATH", format!("/run/tools:{SYSTEM_PATH}"))
        .output()
        .unwrap()
        .into()
}

/// The pid namespace's death takes what a failed script left; the deadline is for network namespaces, which die late.
const ARENA: &str = r#"
set -eu
mount --make-rprivate /
mount -t tmpfs run /run
mkdir /run/tools /run/examples /run/before /run/after
mount --bind "$ARENA_TOOLS" /run/tools
mount --bind "$ARENA_EXAMPLES" /run/examples
mount -t tmpfs tmp /tmp
mount --make-rshared /
unset ARENA_TOOLS ARENA_EXAMPLES
snapshot() {
    cut -d: -f1 /proc/net/dev >"$1/links"
    cat /proc/net/if_inet6 /proc/net/fib_trie /proc/net/route 2>/dev/null | grep -v ^Iface >"$1/addresses" || :
    cut -d' ' -f3- /proc/self/mountinfo >"$1/mounts"
    ls -AR /tmp /mnt /run/netns /run/libctr >"$1/files" 2>/dev/null || :
    # no pipe: its own processes would be seen
    for pid in /proc/[0-9]*; do
        [ "${pid#/proc/}" = 1 ] || { read -r comm <"$pid/comm" && echo "$comm"; } 2>/dev/null
    done >"$1/processes"
}
snapshot /run/before
set +e
/bin/sh -c "$1"
code=$?
deadline=$(($(date +%s) + 10))
while snapshot /run/after; ! difference=$(diff -r /run/before /run/after); do
    if [ "$(date +%s)" -gt $deadline ]; then
        echo "LEFT BEHIND: $difference" >&2
        exit 99
    fi
    sleep 0.02
done
exit $code
"#;
