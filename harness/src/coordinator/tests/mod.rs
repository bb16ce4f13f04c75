//! The coordinator against a simulated world, and its parts alone.

mod judge;
mod overlap;
mod recovery;
mod routing;
mod simulation;
mod world;
