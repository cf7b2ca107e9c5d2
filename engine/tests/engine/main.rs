//! The shell on real sockets, around a core that does what the test says, and around the real one.

mod links;
mod login;
mod names;
mod owner;
mod push;
mod rest;
mod rest_core;
mod rig;
