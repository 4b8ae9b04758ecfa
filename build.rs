//! Tells the program which commit it was built from: `TILLSTREAM_COMMIT`, else what git says, else "unknown".

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TILLSTREAM_COMMIT");
    // A release says exactly what it is. Other builds may name a commit that is a little old: else every commit would
    // mean compiling everything again.
    if std::env::var("PROFILE").as_deref() == Ok("release")
        && let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let named = std::env::var("TILLSTREAM_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = named.or_else(described).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=TILLSTREAM_COMMIT={commit}");
}

/// The commit of this crate's own repository. Unpacked inside another one, that one's commit would be wrong.
fn described() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let same = std::fs::canonicalize(top).ok()? == std::fs::canonicalize(here).ok()?;
    if same { git(&["rev-parse", "--short=12", "HEAD"]) } else { None }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
