//! Cluster IPs and node ports of services.
//!
//! What is taken is known from the services in the store: it is read at start ([`Allocators::load`]), so it survives a restart
//! and a crash between allocation and write leaks nothing. Within one process an address is never given twice. Several
//! processes over one store do not see each other's allocations until they restart: run one that writes services.
//!
//! Random choice comes from the clock, from a stream of its own. As in Kubernetes the lowest addresses are kept for those who
//! ask for a certain one: they are given only when all others are taken.
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
                .extend(port.i64_at(&["nodePort"]).and_then(port_number));
        }
        taken.ports.extend(
            service
                .i64_at(&["spec", "healthCheckNodePort"])
                .and_then(port_number),
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
        let mut allocation = Allocation {
            allocators: self,
            given: Taken::default(),
            freed: Taken::default(),
        };
        if !is_service(resource) || !service.get("spec").is_some_and(Value::is_object) {
            return Ok(allocation);
        }
        if let Some(old) = old {
            carry_over(service, old);
        }
        same_addresses(service, old);
        fill_families(service);
        let held = old.map(Taken::by).unwrap_or_default();
        if needs_address(service) {
            self.give_address(service, &held, &mut allocation)?;
        }
        if needs_ports(service) {
            self.give_ports(service, &held, &mut allocation)?;
        }
        self.give_health_port(service, &held, &mut allocation)?;
        let mut kept = Taken::default();
        if needs_address(service) {
            kept.addresses = Taken::by(service).addresses;
        }
        if needs_ports(service) || needs_health_port(service) {
            kept.ports = Taken::by(service).ports;
        }
        allocation.freed = held;
        allocation.freed.remove(&kept);
        Ok(allocation)
    }

    fn give_address(
        &self,
        service: &mut Value,
        held: &Taken,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        let asked = service.str_at(&["spec", "clusterIP"]).to_owned();
        if asked.is_empty() {
            if !addresses(service).is_empty() {
                // Contradictory: left to validation.
                return Ok(());
            }
            let address = self
                .any_address()
                .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?;
            allocation.given.addresses.insert(address);
            service.set_at(&["spec", "clusterIP"], address.to_string());
            service.set_at(&["spec", "clusterIPs"], vec![address.to_string()]);
            return Ok(());
        }
        let Ok(address) = asked.parse::<Ipv4Addr>() else {
            return Ok(());
        };
        if held.addresses.contains(&address) || addresses(service).first() != Some(&asked.as_str())
        {
            return Ok(());
        }
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

    fn give_ports(
        &self,
        service: &mut Value,
        held: &Taken,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        let ports: Vec<(i64, i64)> = service
            .list_at(&["spec", "ports"])
            .iter()
            .map(|port| {
                (
                    port.i64_at(&["port"]).unwrap_or(0),
                    port.i64_at(&["nodePort"]).unwrap_or(0),
                )
            })
            .collect();
        // Ports of the same number and different protocols share a node port.
        let mut shared: Vec<(i64, i64)> = Vec::new();
        for (index, (port, asked)) in ports.iter().enumerate() {
            let same = shared
                .iter()
                .find(|(number, _)| number == port)
                .map(|(_, given)| *given);
            let given = match (asked, same) {
                (0, Some(given)) => given,
                (0, None) => self.any_port(allocation)?,
                (asked, _) => {
                    self.take_port(service, *asked, held, allocation, || {
                        Path::new("spec")
                            .child("ports")
                            .index(index)
                            .child("nodePort")
                    })?;
                    *asked
                }
            };
            shared.push((*port, given));
            if let Some(Value::Array(ports)) = service.at_mut(&["spec", "ports"])
                && let Some(slot) = ports.get_mut(index)
            {
                slot.set_at(&["nodePort"], given);
            }
        }
        Ok(())
    }

    fn give_health_port(
        &self,
        service: &mut Value,
        held: &Taken,
        allocation: &mut Allocation<'_>,
    ) -> Result<(), Status> {
        if !needs_health_port(service) {
            return Ok(());
        }
        match service
            .i64_at(&["spec", "healthCheckNodePort"])
            .unwrap_or(0)
        {
            0 => {
                let port = self.any_port(allocation)?;
                service.set_at(&["spec", "healthCheckNodePort"], port);
                Ok(())
            }
            asked => self.take_port(service, asked, held, allocation, || {
                Path::new("spec").child("healthCheckNodePort")
            }),
        }
    }

    fn take_port(
        &self,
        service: &Value,
        asked: i64,
        held: &Taken,
        allocation: &mut Allocation<'_>,
        path: impl Fn() -> Path,
    ) -> Result<(), Status> {
        let port = port_number(asked);
        if port.is_some_and(|port| {
            held.ports.contains(&port) || allocation.given.ports.contains(&port)
        }) {
            return Ok(());
        }
        let (first, last) = (self.ports.start(), self.ports.end());
        let Some(port) = port.filter(|port| self.ports.contains(port)) else {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            );
            return Err(invalid(service, path(), asked.into(), &why));
        };
        if !self.taken.lock().ports.insert(port) {
            return Err(invalid(
                service,
                path(),
                asked.into(),
                "provided port is already allocated",
            ));
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

fn is_service(resource: &Resource) -> bool {
    resource.plural == "services" && resource.gvk.group.is_empty()
}

fn port_number(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn invalid(service: &Value, path: Path, value: Value, why: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(path, value, why);
    Status::invalid(&GroupKind::new("", "Service"), service.name(), &errors)
}

fn type_of(service: &Value) -> &str {
    service.str_at(&["spec", "type"])
}

fn is_headless(service: &Value) -> bool {
    service.str_at(&["spec", "clusterIP"]) == "None"
}

fn needs_address(service: &Value) -> bool {
    type_of(service) != "ExternalName" && !is_headless(service)
}

fn needs_ports(service: &Value) -> bool {
    match type_of(service) {
        "NodePort" => true,
        "LoadBalancer" => service
            .bool_at(&["spec", "allocateLoadBalancerNodePorts"])
            .unwrap_or(true),
        _ => false,
    }
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

/// What a client leaves out of an update stays as it was given.
fn carry_over(service: &mut Value, old: &Value) {
    if needs_address(service) && needs_address(old) {
        if service.str_at(&["spec", "clusterIP"]).is_empty() {
            copy(service, old, &["spec", "clusterIP"]);
        }
        let same = service.str_at(&["spec", "clusterIP"]) == old.str_at(&["spec", "clusterIP"]);
        if same && service.list_at(&["spec", "clusterIPs"]).is_empty() {
            copy(service, old, &["spec", "clusterIPs"]);
        }
    }
    if needs_ports(service) && needs_ports(old) {
        let named = |port: &Value| port.str_at(&["name"]).to_owned();
        let number = |port: &Value| port.i64_at(&["nodePort"]).unwrap_or(0);
        let mut used: BTreeSet<i64> = service
            .list_at(&["spec", "ports"])
            .iter()
            .map(number)
            .collect();
        let before: Vec<(String, i64)> = old
            .list_at(&["spec", "ports"])
            .iter()
            .map(|port| (named(port), number(port)))
            .collect();
        if let Some(Value::Array(ports)) = service.at_mut(&["spec", "ports"]) {
            for port in ports.iter_mut().filter(|port| number(port) == 0) {
                let name = named(port);
                let given = before.iter().find(|(before, given)| {
                    *before == name && *given != 0 && !used.contains(given)
                });
                if let Some((_, given)) = given {
                    used.insert(*given);
                    port.set_at(&["nodePort"], *given);
                }
            }
        }
    }
    if needs_health_port(service)
        && needs_health_port(old)
        && service
            .i64_at(&["spec", "healthCheckNodePort"])
            .unwrap_or(0)
            == 0
    {
        copy(service, old, &["spec", "healthCheckNodePort"]);
    }
}

fn copy(service: &mut Value, old: &Value, path: &[&str]) {
    if let Some(value) = old.at(path) {
        service.set_at(path, value.clone());
    }
}

/// Keeps `clusterIP` and `clusterIPs` in step when a client changes only the former.
fn same_addresses(service: &mut Value, old: Option<&Value>) {
    let one = service.str_at(&["spec", "clusterIP"]).to_owned();
    let listed = service.at(&["spec", "clusterIPs"]);
    let unset = service.list_at(&["spec", "clusterIPs"]).is_empty();
    let Some(old) = old else {
        if unset && !one.is_empty() {
            service.set_at(&["spec", "clusterIPs"], vec![one]);
        }
        return;
    };
    if one == old.str_at(&["spec", "clusterIP"]) || listed != old.at(&["spec", "clusterIPs"]) {
        return;
    }
    if one.is_empty() {
        service.remove_at(&["spec", "clusterIPs"]);
        return;
    }
    let mut all: Vec<Value> = service.list_at(&["spec", "clusterIPs"]).to_vec();
    match all.first_mut() {
        Some(first) => *first = one.into(),
        None => all.push(one.into()),
    }
    service.set_at(&["spec", "clusterIPs"], all);
}

/// The cluster has one family. Only a service without addresses and without endpoints of its own is of both.
fn fill_families(service: &mut Value) {
    if type_of(service) == "ExternalName" {
        return;
    }
    let selects = service
        .at(&["spec", "selector"])
        .and_then(Value::as_object)
        .is_some_and(|selector| !selector.is_empty());
    if is_headless(service) && !selects {
        service.default_at(&["spec", "ipFamilyPolicy"], "RequireDualStack");
        let families = service.list_at(&["spec", "ipFamilies"]);
        let first = families
            .first()
            .and_then(Value::as_str)
            .unwrap_or("IPv4")
            .to_owned();
        let single = service.str_at(&["spec", "ipFamilyPolicy"]) == "SingleStack";
        if families.len() < 2 {
            let other = if first == "IPv4" { "IPv6" } else { "IPv4" }.to_owned();
            let families = if single {
                vec![first]
            } else {
                vec![first, other]
            };
            service.set_at(&["spec", "ipFamilies"], families);
        }
        return;
    }
    service.default_at(&["spec", "ipFamilyPolicy"], "SingleStack");
    if service.list_at(&["spec", "ipFamilies"]).is_empty() {
        service.set_at(&["spec", "ipFamilies"], vec!["IPv4".to_owned()]);
    }
}

#[cfg(test)]
mod tests;
