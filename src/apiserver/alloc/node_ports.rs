//! Ports of the nodes: of services that are reached through them, and of their health checks.
use super::{Allocation, Allocators, Taken, invalid, type_of};
use crate::object::field::Path;
use crate::object::{Document, Reason, Status};
use serde_json::Value;

/// A port of a service: its number and, if it has or asks for one, its node port.
#[derive(Clone, Copy)]
struct Wanted {
    port: i64,
    node_port: i64,
}

pub(super) fn number(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// Whether ports that ask for no node port get one.
fn gives_ports(service: &Value) -> bool {
    type_of(service) == "NodePort"
        || service
            .bool_at(&["spec", "allocateLoadBalancerNodePorts"])
            .unwrap_or(true)
}

fn wanted(service: &Value) -> Vec<Wanted> {
    let ports = service.list_at(&["spec", "ports"]).iter();
    let number = |port: &Value, field: &str| port.i64_at(&[field]).unwrap_or(0);
    ports
        .map(|port| Wanted {
            port: number(port, "port"),
            node_port: number(port, "nodePort"),
        })
        .collect()
}

fn at(index: usize) -> Path {
    Path::new("spec")
        .child("ports")
        .index(index)
        .child("nodePort")
}

fn set(service: &mut Value, index: usize, given: i64) {
    if let Some(Value::Array(ports)) = service.at_mut(&["spec", "ports"])
        && let Some(port) = ports.get_mut(index)
    {
        port.set_at(&["nodePort"], given);
    }
}

impl Allocators {
    pub(super) fn give_ports(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        held: &Taken,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        match old {
            None => self.give_new(service, allocation),
            Some(_) => self.give_more(service, held, allocation),
        }
    }

    /// Ports of the same number and different protocols share a node port.
    fn give_new(&self, service: &mut Value, allocation: &mut Allocation<'_>) -> Result<(), Status> {
        let ports = wanted(service);
        let mut shared: Vec<(i64, i64)> = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            if port.node_port == 0 && !gives_ports(service) {
                continue;
            }
            let same = shared.iter().find(|(number, _)| *number == port.port);
            match (same, port.node_port) {
                (Some((_, given)), 0) => set(service, index, *given),
                (Some((_, given)), asked) if asked == *given => {}
                (Some(_), asked) => {
                    self.take_port(asked, allocation)
                        .map_err(|why| invalid(service, at(index), asked.into(), &why))?;
                }
                (None, _) => {
                    let asks = |other: &&Wanted| other.port == port.port && other.node_port != 0;
                    let given = match ports.iter().find(asks).map(|other| other.node_port) {
                        None => self.any_port(allocation)?,
                        Some(asked) => {
                            self.take_port(asked, allocation)
                                .map_err(|why| invalid(service, at(index), asked.into(), &why))?;
                            asked
                        }
                    };
                    set(service, index, given);
                    shared.push((port.port, given));
                }
            }
        }
        Ok(())
    }

    fn give_more(
        &self,
        service: &mut Value,
        held: &Taken,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        let protocols: Vec<String> = service
            .list_at(&["spec", "ports"])
            .iter()
            .map(|port| port.str_at(&["protocol"]).to_owned())
            .collect();
        let mut seen: Vec<(&str, i64)> = Vec::new();
        for (index, port) in wanted(service).into_iter().enumerate() {
            let mut given = port.node_port;
            if given == 0 && !gives_ports(service) {
                continue;
            }
            if given == 0 {
                given = self.any_port(allocation)?;
                set(service, index, given);
            } else {
                let is_held = number(given).is_some_and(|port| {
                    held.ports.contains(&port) || allocation.given.ports.contains(&port)
                });
                if !is_held {
                    self.take_port(given, allocation)
                        .map_err(|why| invalid(service, at(index), given.into(), &why))?;
                }
            }
            let entry = (protocols[index].as_str(), given);
            if seen.contains(&entry) {
                let why = format!("duplicate nodePort: {{{} {given}}}", entry.0);
                return Err(Status::new(500, Reason::Unknown, why));
            }
            seen.push(entry);
        }
        Ok(())
    }

    pub(super) fn give_health_port(
        &self,
        service: &mut Value,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        let path = ["spec", "healthCheckNodePort"];
        let asked = service.i64_at(&path).unwrap_or(0);
        if asked == 0 {
            let port = self.any_port(allocation)?;
            service.set_at(&path, port);
            return Ok(());
        }
        self.take_port(asked, allocation).map_err(|why| {
            Status::internal(&format!(
                "failed to allocate requested HealthCheck NodePort {asked}: {why}"
            ))
        })
    }

    /// Takes a certain port, or says why not.
    fn take_port(&self, asked: i64, allocation: &mut Allocation<'_>) -> Result<(), String> {
        let (first, last) = (self.ports.start(), self.ports.end());
        let Some(port) = number(asked).filter(|port| self.ports.contains(port)) else {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            ));
        };
        if !self.taken.lock().ports.insert(port) {
            return Err("provided port is already allocated".to_owned());
        }
        allocation.given.ports.insert(port);
        Ok(())
    }

    fn any_port(&self, allocation: &mut Allocation<'_>) -> Result<i64, Status> {
        let (first, count) = (
            u32::from(*self.ports.start()),
            u32::try_from(self.ports.len()).unwrap_or(0),
        );
        let start = u32::try_from(self.clock.below(u64::from(count))).unwrap_or(0);
        let mut taken = self.taken.lock();
        let candidates =
            (0..count).filter_map(|step| u16::try_from(first + (start + step) % count).ok());
        let port = candidates
            .into_iter()
            .find(|port| !taken.ports.contains(port));
        let port =
            port.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
        taken.ports.insert(port);
        allocation.given.ports.insert(port);
        Ok(i64::from(port))
    }
}
