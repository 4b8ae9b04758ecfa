//! Who the server runs as: ourselves, or an unprivileged user where we are root, since postgres refuses root.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, User, chown};

use super::{Error, find};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUser {
    pub name: String,
    /// Set where we are root and have to become somebody else.
    become_: Option<(Uid, Gid)>,
}

impl ServerUser {
    /// # Errors
    /// We are root and there is neither a user `postgres` nor `nobody`.
    pub fn pick() -> Result<Self, Error> {
        if !Uid::effective().is_root() {
            return Ok(ServerUser { name: Uid::effective().to_string(), become_: None });
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|u| ServerUser { name: u.name, become_: Some((u.uid, u.gid)) })
            .ok_or(Error::NoUser)
    }

    /// Whether we are root and the server is somebody else.
    pub fn differs(&self) -> bool {
        self.become_.is_some()
    }

    pub(super) fn can_reach(&self, program: &Path) -> bool {
        !self.differs() || find::open_to_others(program)
    }

    /// Makes the user the owner of a folder of ours.
    pub(super) fn own(&self, dir: &Path) -> Result<(), Error> {
        match self.become_ {
            Some((uid, gid)) => chown(dir, Some(uid), Some(gid))
                .map_err(|e| Error::Io { what: format!("give {} to {}", dir.display(), self.name), source: e.into() }),
            None => Ok(()),
        }
    }

    /// A command that runs as this user in `dir`, in a process group of its own: Ctrl-C at the terminal is for us, who
    /// then stop the server in order.
    pub(super) fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).env("HOME", dir).env("LC_ALL", "C").process_group(0);
        for variable in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS"] {
            command.env_remove(variable);
        }
        if let Some((uid, gid)) = self.become_ {
            // The standard library clears the supplementary groups when root changes the uid.
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }
}
