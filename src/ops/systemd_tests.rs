//! The environment of a running process cannot be changed safely, so the part that notifies runs as a child: this very
//! test binary, asked for one ignored test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;
use crate::ops::health::Limits;

/// Set for the children: started by hand with `--ignored` they do nothing.
const CHILD: &str = "TILLSTREAM_TEST_CHILD";

struct Manager {
    socket: UnixDatagram,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Manager {
    /// Starts the ignored test of that name with `NOTIFY_SOCKET` set.
    fn start(test: &str, environment: &[(&str, &str)]) -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", &format!("ops::systemd::tests::{test}")])
            .env(CHILD, "1")
            .env("NOTIFY_SOCKET", &path)
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC")
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Manager { socket, child, _folder: folder }
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn says_nothing_where_nobody_listens() {
    // The test runner has no NOTIFY_SOCKET; if it has one, this is its manager's and none of our business.
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        return;
    }
    let notifier = Notifier::from_env();
    assert!(!notifier.is_present());
    notifier.ready();
    notifier.status("x");
    notifier.reloading();
    notifier.stopping();
    assert!(notifier.watch(Health::default()).unwrap().is_none());
}

#[test]
fn a_whole_life_is_told() {
    let mut manager = Manager::start("child_whole_life", &[]);
    assert_eq!(manager.hears(), "STATUS=copying 3 stores\n");
    assert_eq!(manager.hears(), "READY=1\n");
    assert_eq!(manager.hears(), "STATUS=live  READY=0\n", "a line break in a status must not smuggle in a field");
    let reloading = manager.hears();
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert_eq!(manager.hears(), "READY=1\n");
    assert_eq!(manager.hears(), "STOPPING=1\n");
    assert!(manager.child.wait().unwrap().success());
}

#[test]
#[ignore = "run by a_whole_life_is_told with its environment"]
fn child_whole_life() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let notifier = Notifier::from_env();
    notifier.status("copying 3 stores");
    notifier.ready();
    notifier.ready();
    notifier.status("live\n\tREADY=0");
    notifier.status("live\n\tREADY=0");
    notifier.reloading();
    notifier.reloaded();
    notifier.stopping();
}

#[test]
fn the_watchdog_is_fed_by_progress_only() {
    let manager = Manager::start("child_watchdog", &[("WATCHDOG_USEC", "60000")]);
    assert_eq!(manager.hears(), "EXTEND_TIMEOUT_USEC=60000000\n", "before it is ready it asks for time");
    let next = std::iter::repeat_with(|| manager.hears()).find(|m| !m.starts_with("EXTEND")).unwrap();
    assert_eq!(next, "READY=1\n");
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1\n");
    }
    let next = std::iter::repeat_with(|| manager.hears()).find(|m| m != "WATCHDOG=1\n").unwrap();
    assert!(next.starts_with("STATUS=stuck: the work in hand has not moved on for"), "{next}");
    // Turning alone does not feed it any more; moving on does.
    assert_eq!(manager.hears(), "STATUS=moving again\n");
    assert_eq!(manager.hears(), "WATCHDOG=1\n");
}

#[test]
#[ignore = "run by the_watchdog_is_fed_by_progress_only with its environment"]
fn child_watchdog() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stall = Duration::from_millis(1500);
    let health = Health::new(Limits { stall, ..Limits::default() });
    let notifier = Notifier::from_env();
    let watchdog = notifier.watch(health.clone()).unwrap();
    assert!(watchdog.is_some());
    notifier.ready();
    health.work_begins();
    let turn_while = |condition: &dyn Fn() -> bool| {
        while condition() {
            health.turned();
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    turn_while(&|| health.alive().is_ok());
    // The feeding thread notices at its next look; its status is the sign.
    turn_while(&|| notifier.said().status.is_empty());
    notifier.status("moving again");
    health.work_ends();
    // Until the parent has heard enough and ends us.
    let begun = Instant::now();
    turn_while(&|| begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn no_watchdog_for_another_process() {
    let manager = Manager::start("child_not_watched", &[("WATCHDOG_USEC", "60000"), ("WATCHDOG_PID", "1")]);
    assert_eq!(manager.hears(), "READY=1\n");
    let next = std::iter::repeat_with(|| manager.hears()).find(|m| !m.starts_with("EXTEND")).unwrap();
    assert_eq!(next, "STOPPING=1\n");
}

#[test]
#[ignore = "run by no_watchdog_for_another_process with its environment"]
fn child_not_watched() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let notifier = Notifier::from_env();
    notifier.ready();
    let _watchdog = notifier.watch(Health::default()).unwrap();
    notifier.stopping();
}

#[test]
fn a_manager_that_does_not_read_stops_nobody() {
    let mut manager = Manager::start("child_says_much", &[]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while manager.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it waits for a manager that does not read");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "run by a_manager_that_does_not_read_stops_nobody with its environment"]
fn child_says_much() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let notifier = Notifier::from_env();
    for n in 0..5000 {
        notifier.status(&format!("line {n}"));
    }
    notifier.stopping();
}
