# Sourced by `load`, `test` and `fuzz/run`: says in one line what is missing, and how to get it.

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }

# rustup writes itself into the shell's profile, which a fresh session has perhaps not read.
if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi

missing() { echo "$0: $1" >&2; exit 2; }

need_tools() {
  command -v cargo >/dev/null ||
    missing "no Rust here: install it with  curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- -y  and open a new shell"
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  found=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -1)" = "$wanted" ] ||
    missing "Rust $found is too old, $wanted or later is needed: rustup update stable"
  command -v cc >/dev/null || command -v "${CC:-gcc}" >/dev/null ||
    missing "no C compiler here (SQLite and the cryptography need one): apt-get install build-essential, or your system's like"
}
