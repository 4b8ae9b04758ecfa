#!/bin/sh
# Builds the Debian package and prints its path. Needs cargo-deb (cargo install cargo-deb) and dpkg-dev.
# With --no-build it packs the binary that is in target/release already.
set -eu
cd "$(dirname "$0")/.."

cargo deb --version >/dev/null 2>&1 || { echo "cargo-deb is missing: cargo install cargo-deb" >&2; exit 2; }
[ "${1-}" = "--no-build" ] || cargo build --release --locked

target="${CARGO_TARGET_DIR:-target}"
tillstream="$target/release/tillstream"
out=target/package
mkdir -p "$out"
rm -rf "$out/man"
"$tillstream" man "$out/man"
# Without the line tables, which are five sixths of it.
strip --strip-debug -o "$out/tillstream" "$tillstream"
"$tillstream" completions bash >"$out/tillstream.bash"
"$tillstream" completions zsh >"$out/_tillstream"
"$tillstream" completions fish >"$out/tillstream.fish"

cargo deb --no-build --locked
