//! The families of a service's addresses. In a cluster of one family only a service without addresses and without endpoints of
//! its own may be of both.
use super::{Cidr, EXTERNAL, is_headless, type_of};
use crate::apiserver::kinds::service_addresses;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use serde_json::{Value, json};

const POLICY: [&str; 2] = ["spec", "ipFamilyPolicy"];
const FAMILIES: [&str; 2] = ["spec", "ipFamilies"];
const ADDRESSES: [&str; 2] = ["spec", "clusterIPs"];

/// Fills in what the client leaves to the cluster.
///
/// # Errors
/// What contradicts itself or the cluster.
pub(super) fn fill(
    service: &mut Value,
    old: Option<&Value>,
    ranges: &[Cidr],
) -> Result<(), Errors> {
    let ours: Vec<&str> = ranges.iter().map(|range| range.family()).collect();
    let own = ours.first().copied().unwrap_or("IPv4");
    if type_of(service) == EXTERNAL || old.is_some_and(|old| prefers_both(service, old)) {
        return Ok(());
    }
    let selects = service
        .at(&["spec", "selector"])
        .and_then(Value::as_object)
        .is_some_and(|selector| !selector.is_empty());
    let is_loose = is_headless(service) && !selects;
    let before = old.map(|old| old.str_at(&POLICY)).unwrap_or_default();
    if service.str_at(&POLICY).is_empty() {
        let policy = match before {
            "" if is_loose => "RequireDualStack",
            "" => "SingleStack",
            before => before,
        };
        service.set_at(&POLICY, policy.to_owned());
    }
    let mut errors = Errors::new();
    let kept: Vec<&str> = old.map(|old| texts(old, &ADDRESSES)).unwrap_or_default();
    service_addresses(service, &kept, &mut errors);
    stop(&errors)?;
    if let Some(old) = old {
        shrink(service, old, &mut errors);
    }
    single(service, &mut errors);
    infer(service, &ours, &mut errors);
    stop(&errors)?;
    if is_loose {
        fill_loose(service, own);
        return Ok(());
    }
    if service.str_at(&POLICY) == "RequireDualStack" && ours.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        policy_error(service, why, &mut errors);
    }
    for (index, family) in texts(service, &FAMILIES).into_iter().enumerate() {
        if !ours.contains(&family) {
            let path = Path::new("spec").child("ipFamilies").index(index);
            errors.invalid(path, family, "not configured on this cluster");
        }
    }
    stop(&errors)?;
    if service.list_at(&FAMILIES).is_empty() {
        service.set_at(&FAMILIES, vec![own]);
    }
    if ours.len() == 2 && service.str_at(&POLICY) != "SingleStack" {
        add_other(service);
    }
    Ok(())
}

fn stop(errors: &Errors) -> Result<(), Errors> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.clone())
    }
}

fn texts<'a>(service: &'a Value, path: &[&str]) -> Vec<&'a str> {
    let items = service.list_at(path).iter();
    items.filter_map(Value::as_str).collect()
}

fn policy_error(service: &Value, why: &str, errors: &mut Errors) {
    let path = Path::new("spec").child("ipFamilyPolicy");
    errors.invalid(path, service.str_at(&POLICY), why);
}

/// A service that prefers both families stays as it is, whatever the cluster has come to have.
fn prefers_both(service: &Value, old: &Value) -> bool {
    let policy = |service: &Value| service.str_at(&POLICY).to_owned();
    type_of(service) == type_of(old)
        && policy(service) == "PreferDualStack"
        && matches!(&*policy(old), "" | "PreferDualStack")
        && service.list_at(&ADDRESSES) == old.list_at(&ADDRESSES)
        && service.list_at(&FAMILIES) == old.list_at(&FAMILIES)
}

/// A service that had both families and is now to have one.
fn shrink(service: &mut Value, old: &Value, errors: &mut Errors) {
    for (path, what) in [(ADDRESSES, "cluster IP"), (FAMILIES, "IP family")] {
        let (new, before) = (service.list_at(&path), old.list_at(&path));
        if service.str_at(&POLICY) == "SingleStack" {
            if new == before && new.len() > 1 {
                let first = new[..1].to_vec();
                service.set_at(&path, first);
            }
        } else if !new.is_empty() && new.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            policy_error(service, &why, errors);
        }
    }
}

fn single(service: &Value, errors: &mut Errors) {
    if service.str_at(&POLICY) != "SingleStack" {
        return;
    }
    for (path, what) in [(ADDRESSES, "cluster IPs"), (FAMILIES, "IP families")] {
        if service.list_at(&path).len() == 2 {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            policy_error(service, &why, errors);
        }
    }
}

/// An address tells its family.
fn infer(service: &mut Value, ours: &[&str], errors: &mut Errors) {
    let known = service.list_at(&FAMILIES).len();
    let addresses = service.at(&ADDRESSES).cloned().unwrap_or_default();
    let mut families = service.list_at(&FAMILIES).to_vec();
    for (index, address) in texts(&json!({ "a": addresses }), &["a"])
        .into_iter()
        .enumerate()
    {
        if address == "None" {
            break;
        }
        if index < known {
            continue;
        }
        let family = if address.contains(':') {
            "IPv6"
        } else {
            "IPv4"
        };
        if ours.contains(&family) {
            families.push(family.into());
        } else {
            let path = Path::new("spec").child("clusterIPs").index(index);
            let why = format!("{family} is not configured on this cluster");
            errors.invalid(path, addresses.clone(), &why);
        }
    }
    if families.len() > known {
        service.set_at(&FAMILIES, families);
    }
}

fn fill_loose(service: &mut Value, own: &str) {
    if service.list_at(&FAMILIES).is_empty() {
        service.set_at(&FAMILIES, vec![own]);
    }
    if service.str_at(&POLICY) != "SingleStack" {
        add_other(service);
    }
}

/// A service of one family gets the other one as well.
fn add_other(service: &mut Value) {
    let families = texts(service, &FAMILIES);
    if families.len() == 1 {
        let both = match families[..] {
            ["IPv6"] => ["IPv6", "IPv4"],
            _ => ["IPv4", "IPv6"],
        };
        service.set_at(&FAMILIES, both.map(str::to_owned).to_vec());
    }
}
