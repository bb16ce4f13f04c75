//! Entry point of `whitewater`; see the library for what it does.

fn main() {}
