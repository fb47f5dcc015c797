#![allow(dead_code, unused)]
#[path = "it/serve_tiers.rs"]
mod serve_tiers;
#[path = "it/support/mod.rs"]
mod support;
