//! Tests of the models module: import, pull, store.

mod folder;
mod import;
mod pull;
mod server;
mod store;
