//! ServiceCIDR: a range of cluster IPs.

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, ip};
use crate::apiserver::registry::strategy::{CLIENT_METADATA, Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ServiceCidr;

impl Strategy for ServiceCidr {
    /// The status is not guarded from writes of the object itself.
    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Value, _old: &Value) {}

    fn status_keeps(&self) -> &[&[&str]] {
        CLIENT_METADATA
    }

    fn disowns_resets(&self) -> bool {
        false
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("cidrs");
        let cidrs = ranges(object);
        match cidrs.len() {
            0 => errors.required(path, "at least one CIDR required"),
            1 | 2 => {
                for (index, cidr) in cidrs.iter().enumerate() {
                    check::problems(cidr, ip::canonical_cidr(cidr), &path.index(index), errors);
                }
                let families: Vec<_> = cidrs
                    .iter()
                    .filter_map(|cidr| ip::Cidr::parse(cidr))
                    .map(ip::Cidr::is_v6)
                    .collect();
                if families.len() == 2 && families[0] == families[1] {
                    let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
                    errors.invalid(path, cidrs, why);
                }
            }
            _ => errors.invalid(
                path,
                json!({ "CIDRs": cidrs }),
                "may only hold up to 2 values",
            ),
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_some() {
            return;
        }
        let path = Path::new("spec").child("cidrs");
        let (new, old) = (ranges(object), ranges(old));
        let why = "field is immutable";
        if new.len() == old.len() {
            for (index, cidr) in new
                .iter()
                .enumerate()
                .filter(|(at, cidr)| old[*at] != **cidr)
            {
                errors.invalid(path.index(index), *cidr, why);
            }
        } else if (old.len(), new.len()) == (1, 2) {
            // A second family may be added.
            if new[0] != old[0] {
                errors.invalid(path.index(0), new[0], why);
            }
            self.validate(context, object, errors);
        } else {
            errors.invalid(path, new, why);
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn ranges(object: &Value) -> Vec<&str> {
    let cidrs = object.list_at(&["spec", "cidrs"]);
    cidrs.iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    fn with(cidrs: &[&str]) -> Value {
        json!({ "spec": { "cidrs": cidrs } })
    }

    #[test]
    fn rules() {
        for (cidrs, expected) in [
            (&["10.0.0.0/16", "fd00::/108"][..], ""),
            (
                &[],
                "spec.cidrs: Required value: at least one CIDR required",
            ),
            (
                &["10.0.0.1/16"],
                "spec.cidrs[0]: Invalid value: \"10.0.0.1/16\": must not have bits set beyond the prefix length",
            ),
            (
                &["10.0.0.0/16", "10.1.0.0/16"],
                "spec.cidrs: Invalid value: [\"10.0.0.0/16\",\"10.1.0.0/16\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ),
            (
                &["a", "b", "c"],
                "spec.cidrs: Invalid value: {\"CIDRs\":[\"a\",\"b\",\"c\"]}: may only hold up to 2 values",
            ),
        ] {
            assert_eq!(errors_of(&ServiceCidr, &with(cidrs)), expected);
        }
    }

    #[test]
    fn ranges_stay() {
        let old = with(&["10.0.0.0/16"]);
        for (cidrs, expected) in [
            (&["10.0.0.0/16", "fd00::/108"][..], ""),
            (
                &["10.1.0.0/16"],
                "spec.cidrs[0]: Invalid value: \"10.1.0.0/16\": field is immutable",
            ),
            (&[], "spec.cidrs: Invalid value: []: field is immutable"),
        ] {
            let new = with(cidrs);
            assert_eq!(errors_of_update(&ServiceCidr, None, &new, &old), expected);
        }
    }
}
