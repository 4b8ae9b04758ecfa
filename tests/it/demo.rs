//! `tillstream demo` as somebody runs it: from an empty folder, without a configuration, its output going elsewhere.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::wait_until;

const LOG: &str = "time,sale,line,product,name,quantity,unit_price,customer
2011-03-26 09:00:00,1,1,A,Tea,3,2.50,c1
2011-03-26 09:00:00,1,2,B,Cup,1,0.005,c1
2011-03-27 01:30:00,C3,1,A,Tea,-1,2.50,c1
";

/// A demo under way.
struct Demo {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    /// Everything it has said.
    said: String,
    /// Of its server.
    process: String,
    folder: PathBuf,
}

impl Demo {
    async fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tillstream"));
        command.arg("demo").args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut demo = Demo { child, lines, said: String::new(), process: String::new(), folder: PathBuf::new() };
        let server = demo.hear("server ").await;
        let (process, folder) = server.split_once("process ").unwrap().1.split_once(", in ").unwrap();
        (demo.process, demo.folder) = (process.to_string(), PathBuf::from(folder));
        demo
    }

    /// Reads on to the line that starts so.
    async fn hear(&mut self, start: &str) -> String {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said += &format!("{line}\n");
                if line.starts_with(start) {
                    return Some(line);
                }
            }
            None
        };
        let line = tokio::time::timeout(Duration::from_secs(120), reading).await;
        line.ok().flatten().unwrap_or_else(|| panic!("no line {start:?} in\n{}", self.said))
    }

    /// It ends with this exit status, and its server and folder are gone.
    async fn ends(mut self, code: Option<i32>) -> String {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.said += &format!("{line}\n");
        }
        let status = self.child.wait().await.unwrap();
        assert_eq!(status.code(), code, "{}", self.said);
        let pid = Pid::from_raw(self.process.parse().unwrap());
        wait_until("server and folder gone", Duration::from_secs(15), || async {
            kill(pid, None).is_err() && !self.folder.exists()
        })
        .await;
        self.said
    }
}

#[tokio::test]
async fn sells_verifies_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path(), &["--seconds", "3"]).await;
    assert!(demo.folder.exists());
    let said = demo.ends(Some(0)).await;
    assert!(said.contains("Central   ") && said.contains("verified: all "), "{said}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "it wrote into the folder it was run in");
}

#[tokio::test]
async fn ends_in_order_when_asked_to_and_leaves_nothing_when_killed() {
    let dir = tempfile::tempdir().unwrap();
    for (signal, code) in [(Signal::SIGINT, Some(0)), (Signal::SIGKILL, None)] {
        let mut demo = Demo::start(dir.path(), &[]).await;
        demo.hear("Central ").await;
        kill(Pid::from_raw(demo.child.id().unwrap().try_into().unwrap()), signal).unwrap();
        let said = demo.ends(code).await;
        assert_eq!(said.contains("verified: all "), code.is_some(), "{said}");
    }
}

#[tokio::test]
async fn replays_a_log() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log.csv"), LOG).unwrap();
    let said = Demo::start(dir.path(), &["--replay", "log.csv"]).await.ends(Some(0)).await;
    assert!(said.contains("5.01 in the log, 5.01 in the daily reports"), "{said}");
    assert!(said.contains("replayed     2 of 2 sales, 3 lines") && said.contains("verified: all "), "{said}");
}
