//! Processes that do not outlive us, whatever we die of.
//!
//! Two guards: the kernel signals the server when the thread that spawned it ends (Linux), and a small shell waits for
//! our end of a pipe to close, then stops what is left and removes the folder. Only the second cleans up the files.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::Signal;

/// Spawns commands from one thread that lives as long as this value: the death signal that [`spawn`](Keeper::spawn)
/// asks for comes when the *spawning thread* ends, and callers may sit on short-lived ones.
pub struct Keeper {
    orders: mpsc::Sender<Order>,
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

impl Keeper {
    pub fn new() -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new().name("postgres-keeper".into()).spawn(move || {
            for (mut command, reply) in inbox {
                // A caller that is gone no longer wants the child; its handle goes with the message.
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Keeper { orders })
    }

    /// Spawns a command that gets this signal if we die, on systems that can do so.
    pub fn spawn(&self, mut command: Command, signal: Signal) -> std::io::Result<Child> {
        die_with_parent(&mut command, signal);
        let (reply, answer) = mpsc::channel();
        let gone = || std::io::Error::other("the spawning thread is gone");
        self.orders.send((command, reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command, signal: Signal) {
    use std::os::unix::process::CommandExt;

    use nix::sys::prctl::set_pdeathsig;
    // SAFETY: runs between fork and exec of the child; it makes one system call and touches no memory, lock or
    // allocator. It comes after the change of uid, which would clear the setting.
    unsafe {
        command.pre_exec(move || set_pdeathsig(signal).map_err(std::io::Error::from));
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command, _: Signal) {}

/// A shell that removes a server's folder once we are gone, after stopping the server in it.
pub struct Reaper {
    child: Child,
    /// Closes when this value is dropped and when we die.
    pipe: Option<ChildStdin>,
}

impl Reaper {
    /// `dir` holds the data folder `data` and is removed whole.
    pub fn watch(dir: &Path) -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt;
        // A process id alone may have been given to somebody else by now: only a command line that names our folder
        // is the server.
        const SCRIPT: &str = r#"
            trap '' INT TERM HUP
            read -r _
            pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
            ours() { { tr '\0' ' ' <"/proc/$pid/cmdline" || ps -o args= -p "$pid"; } 2>/dev/null | grep -qF "$1"; }
            if [ -n "$pid" ] && ours "$1"; then
                kill -QUIT "$pid"
                n=0
                while ours "$1" && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done
            fi
            n=0
            while [ -e "$1" ] && [ $n -lt 10 ]; do rm -rf "$1" && break; n=$((n + 1)); sleep 0.2; done
        "#;
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "tillstream-reaper"])
            .arg(dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Reaper { child, pipe })
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.child.wait();
    }
}
