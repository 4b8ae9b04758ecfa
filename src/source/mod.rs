//! Everything about the POS's server: connections, the catalogue of stores, publication and slot.

pub mod catalog;
pub mod connect;
pub mod identity;
mod mapped;
pub mod publication;
pub mod slot;
mod tls;
