//! The API server from outside: requests in, answers out, in one process and on virtual time.

mod clients;
mod deletion;
mod fuzz;
mod paths;
mod services;
mod subresources;
mod support;
mod writes;
