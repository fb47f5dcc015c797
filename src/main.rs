//! Entry point: parse, logging, dispatch, exit code.

fn main() {}
