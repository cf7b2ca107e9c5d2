//! The shell on real sockets, around a core that does what the test says.

mod links;
mod owner;
mod rig;
