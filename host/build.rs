//! Rebuilds when files that macros embed into the binary are added or changed.

fn main() {
    println!("cargo::rerun-if-changed=../static");
    println!("cargo::rerun-if-changed=../migrations");
}
