//! Options of the linker for the program.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    // Rust's default linker for this target, lld, knows these options; other linkers may not.
    let uses_lld = is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_ENV", "gnu");
    if uses_lld && is("PROFILE", "release") {
        // Merges identical functions, of which generic code has many.
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        // Relocations are read at each start; packed, they take a tenth of the memory.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
