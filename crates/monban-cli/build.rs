//! Links the command so that it starts fast: it is started twice for every `monban run`, and a process that lives
//! for a millisecond spends most of it in page faults of its own start.
//!
//! On Linux with the GNU C library it is linked at a fixed address, since a position-independent executable writes
//! to about fifty more pages while it relocates itself, and with the unwinder inside instead of `libgcc_s.so`, one
//! library less to map. Both together save a sixth of the page faults. What is given up: the place of the executable
//! itself is not random (those of the C library, the heap and the stack are). Elsewhere nothing is changed.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// What a link asks for as `-lgcc_s`: the archives of the same compiler instead of the shared library.
const UNWINDER_INSIDE: &str = "INPUT(-l:libgcc_eh.a -l:libgcc.a)\n";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|is| is == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return Ok(());
    }
    // Another compiler may link what is built for another machine: its archives are not looked for.
    if env::var("HOST").ok() != env::var("TARGET").ok() || !has_archives() {
        return Ok(());
    }
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("libgcc_s.so"), UNWINDER_INSIDE)?;
    println!(
        "cargo::rustc-link-search=native={}",
        Path::new(&out).display()
    );
    println!("cargo::rustc-link-arg-bins=-no-pie");
    Ok(())
}

/// Whether the C compiler, which links, has its unwinder as an archive: it answers the bare name if not.
fn has_archives() -> bool {
    ["libgcc_eh.a", "libgcc.a"].iter().all(|archive| {
        Command::new("cc")
            .arg(format!("-print-file-name={archive}"))
            .output()
            .is_ok_and(|answer| answer.stdout.len() > archive.len() + 1)
    })
}
