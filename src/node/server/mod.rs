//! What a node lets others look into: logs, commands, ports, statistics.
pub(super) mod channels;
pub(super) mod spdy;
pub(super) mod ws;
