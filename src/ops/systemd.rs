//! What systemd is told: ready, status, reloading, stopping, and the watchdog, which is fed by progress.
//!
//! Without `NOTIFY_SOCKET` every call does nothing. A notification that cannot be sent is never a reason to stop working.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sd_notify::NotifyState;

use super::health::Health;

/// How often a start that takes long asks for more time, and how much it gets each time.
const START_TICK: Duration = Duration::from_secs(10);
const START_EXTENSION: Duration = Duration::from_secs(60);
/// How long the service manager may take to read what must not be lost.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Notifier(Arc<State>);

#[derive(Debug)]
struct State {
    /// `NOTIFY_SOCKET`.
    socket: Option<OsString>,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    ready: bool,
    status: String,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`.
    pub fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        Notifier(Arc::new(State { socket, said: Mutex::default() }))
    }

    /// Whether a service manager listens.
    pub fn is_present(&self) -> bool {
        self.0.socket.is_some()
    }

    /// The stream is live. Only the first call is sent; after a reload use [`Notifier::reloaded`].
    pub fn ready(&self) {
        if !std::mem::replace(&mut self.said().ready, true) {
            self.send(&[NotifyState::Ready]);
        }
    }

    /// One line for `systemctl status`. Only a change is sent.
    pub fn status(&self, line: &str) {
        let line = one_line(line);
        let mut said = self.said();
        if said.status != line {
            self.send(&[NotifyState::Status(&line)]);
            said.status = line;
        }
    }

    /// The configuration is being read again; follow it by [`Notifier::reloaded`].
    pub fn reloading(&self) {
        // systemd 253 and later want the time with it, in one datagram.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(_) => self.send(&[NotifyState::Reloading]),
        }
    }

    pub fn reloaded(&self) {
        self.said().ready = true;
        self.send(&[NotifyState::Ready]);
    }

    /// The batch in hand is finished, then the process ends.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// Begins to feed the watchdog from a thread of its own, as long as `health` says alive. While not ready yet, it asks for
    /// more time to start instead, also only while alive: a first copy may take hours, a stuck one may not.
    /// `None`: no service manager, or it wants neither.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn watch(&self, health: Health) -> io::Result<Option<Watchdog>> {
        if !self.is_present() {
            return Ok(None);
        }
        let period = sd_notify::watchdog_enabled().filter(|period| !period.is_zero());
        let tick = period.map_or(START_TICK, |period| (period / 3).min(START_TICK));
        let notifier = self.clone();
        let (stop, stopped) = channel::<()>();
        let mut was_alive = self.feed(&health, period.is_some(), true);
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                was_alive = notifier.feed(&health, period.is_some(), was_alive);
            }
        })?;
        Ok(Some(Watchdog { stop: Some(stop), thread: Some(thread) }))
    }

    fn feed(&self, health: &Health, watched: bool, was_alive: bool) -> bool {
        let alive = health.alive();
        match &alive {
            Ok(()) if !self.said().ready => {
                let micros = u32::try_from(START_EXTENSION.as_micros()).unwrap_or(u32::MAX);
                self.send(&[NotifyState::ExtendTimeoutUsec(micros)]);
            }
            Ok(()) if watched => self.send(&[NotifyState::Watchdog]),
            Ok(()) => {}
            Err(trouble) if was_alive => {
                tracing::error!(%trouble, "no progress: the watchdog is not fed until there is some");
                self.status(&format!("stuck: {trouble}"));
            }
            Err(_) => {}
        }
        alive.is_ok()
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if let Some(socket) = &self.0.socket
            && let Err(error) = send_to(socket, states)
        {
            tracing::debug!(%error, "cannot notify the service manager");
        }
    }
}

/// A service manager that does not read must not stop the engine: a line of status or a sign of life is dropped then,
/// anything else waits a moment.
fn send_to(path: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    let socket = UnixDatagram::unbound()?;
    match path.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(path)?,
    }
    match states {
        [NotifyState::Status(_)] | [NotifyState::Watchdog] => socket.set_nonblocking(true)?,
        _ => socket.set_write_timeout(Some(SEND_TIMEOUT))?,
    }
    socket.send(text.as_bytes()).map(drop)
}

/// The feeding thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A line break would begin another assignment of the protocol.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
