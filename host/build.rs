//! Files that macros build into the binary: a new one has to be noticed, too.

fn main() {
    println!("cargo::rerun-if-changed=../static");
    println!("cargo::rerun-if-changed=../migrations");
}
