//! Health checks: what an agent asks of a container.

/// How a container's health is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A command in the container that must exit with 0.
    Exec(Vec<String>),
    /// A request that must be answered with a status from 200 to 399.
    Http {
        /// `http` or `https`.
        scheme: String,
        /// The host; empty: the pod.
        host: String,
        /// The port.
        port: u16,
        /// The path.
        path: String,
        /// Headers, in order; one that is empty in place of an own one takes that away.
        headers: Vec<(String, String)>,
    },
    /// A port that must accept connections.
    Tcp {
        /// The host; empty: the pod.
        host: String,
        /// The port.
        port: u16,
    },
    /// A gRPC health service that must answer `SERVING`.
    Grpc {
        /// The port.
        port: u16,
        /// The service's name.
        service: String,
    },
}
