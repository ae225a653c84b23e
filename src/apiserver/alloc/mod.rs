//! Cluster IPs and node ports of services.
//!
//! What is taken is known from the services in the store: it is read at start ([`Allocators::load`]), so it survives a restart
//! and a crash between allocation and write leaks nothing. Within one process an address is never given twice; several
//! processes over one store learn of each other's addresses by the IPAddress objects that each writes first ([`claims`]). They do
//! not see each other's node ports until they restart.
//!
//! Random choice comes from the clock, from a stream of its own. As in Kubernetes the lowest addresses are kept for those who
//! ask for a certain one: they are given only when all others are taken.
mod cidr;
pub(crate) mod claims;
mod families;
mod keep;
mod node_ports;

pub(crate) use self::cidr::Cidr;
use super::registry::Resource;
use crate::clock::Clock;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupKind, Status};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Taken {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Taken {
    /// What a service holds.
    fn by(service: &Value) -> Self {
        let mut taken = Self::default();
        for address in addresses(service) {
            taken.addresses.extend(address.parse::<IpAddr>());
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
    /// The range of each family, the cluster's own family first.
    ranges: Vec<Cidr>,
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
    /// The addresses that were given.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.given.addresses.iter().copied().collect()
    }
    /// The addresses that are given back once the service is stored.
    pub(crate) fn freed(&self) -> Vec<IpAddr> {
        self.freed.addresses.iter().copied().collect()
    }
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
    pub(crate) fn new(ranges: Vec<Cidr>, ports: RangeInclusive<u16>, clock: &Clock) -> Self {
        Self {
            ranges,
            ports,
            clock: clock.fork("apiserver/alloc"),
            taken: Mutex::default(),
        }
    }
    /// The ranges of cluster IPs, that of the cluster's own family first.
    pub(crate) fn ranges(&self) -> &[Cidr] {
        &self.ranges
    }
    /// Learns that an address is taken by somebody else.
    pub(crate) fn learn(&self, address: IpAddr) {
        self.taken.lock().addresses.insert(address);
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
        families::fill(service, old, &self.ranges)
            .map_err(|errors| Status::invalid(&kind(), service.name(), &errors))?;
        let held = old.map(Taken::by).unwrap_or_default();
        if needs_address(service) {
            self.give_addresses(service, old, &mut allocation)?;
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

    /// An address of each family that the service is of. Those it has are for life; what it had none of before it gets.
    fn give_addresses(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        let had = old.filter(|old| type_of(old) != EXTERNAL);
        // One that was headless stays so.
        if had.is_some_and(is_headless) {
            return Ok(());
        }
        let had = had.map_or(0, |old| addresses(old).len());
        let families: Vec<String> = service
            .list_at(&["spec", "ipFamilies"])
            .iter()
            .filter_map(|family| family.as_str().map(str::to_owned))
            .collect();
        let asked: Vec<String> = addresses(service).into_iter().map(str::to_owned).collect();
        let mut given = asked.clone();
        for (index, family) in families.iter().enumerate().skip(had) {
            let Some(range) = self.ranges.iter().find(|range| range.family() == family) else {
                continue;
            };
            if let Some(asked) = asked.get(index).filter(|asked| !asked.is_empty()) {
                self.take(service, range, asked, allocation)?;
                continue;
            }
            let why = "failed to allocate a serviceIP: range is full";
            let address = self.any_address(range);
            let address = address.ok_or_else(|| Status::internal(why))?;
            allocation.given.addresses.insert(address);
            given.truncate(index);
            given.push(address.to_string());
        }
        if let Some(first) = given.first() {
            service.set_at(&["spec", "clusterIP"], first.clone());
            service.set_at(&["spec", "clusterIPs"], given);
        }
        Ok(())
    }

    /// The address that a service asks for.
    fn take(
        &self,
        service: &Value,
        range: &Cidr,
        asked: &str,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        let Ok(address) = asked.parse::<IpAddr>() else {
            return Ok(());
        };
        let why = if !range.holds(address) {
            format!(
                "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
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
        let path = Path::new("spec").child("clusterIPs");
        Err(invalid(service, path, given, &why))
    }

    fn any_address(&self, range: &Cidr) -> Option<IpAddr> {
        let size = range.size();
        let reserved = (size / 16).clamp(16, 256).min(size.saturating_sub(1));
        let mut taken = self.taken.lock();
        let found =
            [(reserved + 1, size), (1, reserved)]
                .into_iter()
                .find_map(|(first, last)| {
                    let count = last.checked_sub(first)? + 1;
                    let start = self.clock.below(count);
                    let offsets = (0..count).map(|step| first + (start + step) % count);
                    offsets
                        .map(|offset| range.at(offset))
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

pub(crate) fn is_service(resource: &Resource) -> bool {
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
