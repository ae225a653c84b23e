//! Cluster IPs and node ports of services.
//!
//! What is taken is known from the services in the store: it is read at start ([`Allocators::load`]), so it survives a restart
//! and a crash between allocation and write leaks nothing. Within one process an address is never given twice. Several
//! processes over one store do not see each other's allocations until they restart: run one that writes services.
//!
//! Random choice comes from the clock, from a stream of its own. As in Kubernetes the lowest addresses are kept for those who
//! ask for a certain one: they are given only when all others are taken.
mod families;
mod keep;
mod node_ports;

use super::registry::Resource;
use crate::clock::Clock;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupKind, Status};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// The IPv4 addresses that services get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    base: u32,
    bits: u32,
}

impl Cidr {
    /// Parses `10.96.0.0/12`; there must be room for at least two addresses and no more than 2^20, as in Kubernetes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| (12..=30).contains(bits))?;
        let size = 1_u32 << (32 - bits);
        Some(Self {
            base: u32::from(address) & !(size - 1),
            bits,
        })
    }
    /// How many addresses services can have: neither the first nor the last of the range.
    fn size(self) -> u32 {
        (1_u32 << (32 - self.bits)) - 2
    }
    /// The address at `offset`, from 1.
    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + offset)
    }
    fn offset(self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(self.base)?;
        (1..=self.size()).contains(&offset).then_some(offset)
    }
    /// The first address, which the service `kubernetes` has.
    pub(crate) fn first(self) -> Ipv4Addr {
        self.at(1)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

/// What is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Taken {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u16>,
}

impl Taken {
    /// What a service holds.
    fn by(service: &Value) -> Self {
        let mut taken = Self::default();
        for address in addresses(service) {
            taken.addresses.extend(address.parse::<Ipv4Addr>());
        }
        for port in service.list_at(&["spec", "ports"]) {
            taken
                .ports
                .extend(port.i64_at(&["nodePort"]).and_then(node_ports::number));
        }
        taken.ports.extend(
            service
                .i64_at(&["spec", "healthCheckNodePort"])
                .and_then(node_ports::number),
        );
        taken
    }
    fn add(&mut self, other: &Self) {
        self.addresses.extend(&other.addresses);
        self.ports.extend(&other.ports);
    }
    fn remove(&mut self, other: &Self) {
        self.addresses
            .retain(|address| !other.addresses.contains(address));
        self.ports.retain(|port| !other.ports.contains(port));
    }
}

/// Gives services their cluster IPs and node ports.
#[derive(Debug)]
pub(crate) struct Allocators {
    cidr: Cidr,
    ports: RangeInclusive<u16>,
    clock: Clock,
    taken: Mutex<Taken>,
}

/// What was given to a service that is not stored yet: given back when dropped, unless kept.
#[derive(Debug)]
#[must_use]
pub(crate) struct Allocation<'a> {
    allocators: &'a Allocators,
    given: Taken,
    /// What the service held before and no longer does.
    freed: Taken,
}

impl Allocation<'_> {
    /// The service is stored: it keeps what it was given and gives back what it no longer has.
    pub(crate) fn keep(mut self) {
        self.given = std::mem::take(&mut self.freed);
    }
}

impl Drop for Allocation<'_> {
    fn drop(&mut self) {
        if self.given != Taken::default() {
            self.allocators.taken.lock().remove(&self.given);
        }
    }
}

impl Allocators {
    pub(crate) fn new(cidr: Cidr, ports: RangeInclusive<u16>, clock: &Clock) -> Self {
        Self {
            cidr,
            ports,
            clock: clock.fork("apiserver/alloc"),
            taken: Mutex::default(),
        }
    }
    /// The range of cluster IPs.
    pub(crate) fn cidr(&self) -> Cidr {
        self.cidr
    }
    /// Nothing, for writes that give a service nothing.
    pub(crate) fn nothing(&self) -> Allocation<'_> {
        Allocation {
            allocators: self,
            given: Taken::default(),
            freed: Taken::default(),
        }
    }
    /// Learns what the stored services hold.
    pub(crate) fn load<'s>(&self, services: impl IntoIterator<Item = &'s Value>) {
        let mut taken = Taken::default();
        for service in services {
            taken.add(&Taken::by(service));
        }
        *self.taken.lock() = taken;
    }
    /// Gives a new service what it needs; nothing to objects of other kinds.
    ///
    /// # Errors
    /// 422 when it asks for what is taken or outside the range, 500 when nothing is left.
    pub(crate) fn create(
        &self,
        resource: &Resource,
        object: &mut Value,
    ) -> Result<Allocation<'_>, Status> {
        self.allocate(resource, object, None)
    }
    /// Gives a changed service what it newly needs.
    ///
    /// # Errors
    /// As [`Allocators::create`].
    pub(crate) fn update(
        &self,
        resource: &Resource,
        object: &mut Value,
        old: &Value,
    ) -> Result<Allocation<'_>, Status> {
        self.allocate(resource, object, Some(old))
    }
    /// Takes back what a deleted service held.
    pub(crate) fn release(&self, resource: &Resource, object: &Value) {
        if is_service(resource) {
            self.taken.lock().remove(&Taken::by(object));
        }
    }

    fn allocate(
        &self,
        resource: &Resource,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Allocation<'_>, Status> {
        let mut allocation = self.nothing();
        if !is_service(resource) || !service.get("spec").is_some_and(Value::is_object) {
            return Ok(allocation);
        }
        if let Some(old) = old {
            keep::allocated(service, old);
        }
        keep::addresses_in_step(service, old);
        families::fill(service, old)
            .map_err(|errors| Status::invalid(&kind(), service.name(), &errors))?;
        let held = old.map(Taken::by).unwrap_or_default();
        // An address is for life: only a service that had no use for one gets one with a change.
        if needs_address(service) && old.is_none_or(|old| type_of(old) == EXTERNAL) {
            self.give_address(service, &mut allocation)?;
        }
        if has_node_ports(service) {
            self.give_ports(service, old, &held, &mut allocation)?;
        }
        if needs_health_port(service) && !old.is_some_and(needs_health_port) {
            self.give_health_port(service, &mut allocation)?;
        }
        let mut kept = Taken::default();
        let now = Taken::by(service);
        if needs_address(service) {
            kept.addresses = now.addresses;
        }
        if has_node_ports(service) {
            kept.ports = now.ports;
        }
        allocation.freed = held;
        allocation.freed.remove(&kept);
        Ok(allocation)
    }

    fn give_address(
        &self,
        service: &mut Value,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        let asked = addresses(service).first().map(|asked| (*asked).to_owned());
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
            let address = self
                .any_address()
                .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?;
            allocation.given.addresses.insert(address);
            service.set_at(&["spec", "clusterIP"], address.to_string());
            service.set_at(&["spec", "clusterIPs"], vec![address.to_string()]);
            return Ok(());
        };
        let Ok(address) = asked.parse::<Ipv4Addr>() else {
            return Ok(());
        };
        let why = if self.cidr.offset(address).is_none() {
            format!(
                "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                self.cidr
            )
        } else if self.taken.lock().addresses.insert(address) {
            allocation.given.addresses.insert(address);
            return Ok(());
        } else {
            format!("failed to allocate IP {address}: provided IP is already allocated")
        };
        let given = service
            .at(&["spec", "clusterIPs"])
            .cloned()
            .unwrap_or_default();
        Err(invalid(
            service,
            Path::new("spec").child("clusterIPs"),
            given,
            &why,
        ))
    }

    fn any_address(&self) -> Option<Ipv4Addr> {
        let size = self.cidr.size();
        let reserved = (size / 16).clamp(16, 256).min(size.saturating_sub(1));
        let mut taken = self.taken.lock();
        let found =
            [(reserved + 1, size), (1, reserved)]
                .into_iter()
                .find_map(|(first, last)| {
                    let count = last.checked_sub(first)? + 1;
                    let start = u32::try_from(self.clock.below(u64::from(count))).unwrap_or(0);
                    let offsets = (0..count).map(|step| first + (start + step) % count);
                    offsets
                        .map(|offset| self.cidr.at(offset))
                        .find(|address| !taken.addresses.contains(address))
                })?;
        taken.addresses.insert(found);
        Some(found)
    }
}

const EXTERNAL: &str = "ExternalName";

fn kind() -> GroupKind {
    GroupKind::new("", "Service")
}

fn is_service(resource: &Resource) -> bool {
    resource.plural == "services" && resource.gvk.group.is_empty()
}

fn invalid(service: &Value, path: Path, value: Value, why: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(path, value, why);
    Status::invalid(&kind(), service.name(), &errors)
}

fn type_of(service: &Value) -> &str {
    service.str_at(&["spec", "type"])
}

fn is_headless(service: &Value) -> bool {
    service.str_at(&["spec", "clusterIP"]) == "None"
}

fn needs_address(service: &Value) -> bool {
    type_of(service) != EXTERNAL && !is_headless(service)
}

/// Whether it is of a type that is reached through ports of the nodes.
fn has_node_ports(service: &Value) -> bool {
    matches!(type_of(service), "NodePort" | "LoadBalancer")
}

fn needs_health_port(service: &Value) -> bool {
    type_of(service) == "LoadBalancer"
        && service.str_at(&["spec", "externalTrafficPolicy"]) == "Local"
}

fn addresses(service: &Value) -> Vec<&str> {
    let listed: Vec<&str> = service
        .list_at(&["spec", "clusterIPs"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match service.str_at(&["spec", "clusterIP"]) {
        one if listed.is_empty() && !one.is_empty() => vec![one],
        _ => listed,
    }
}

#[cfg(test)]
mod tests;
