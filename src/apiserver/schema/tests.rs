use super::types::{Scalar, Type};

#[test]
fn every_definition_parses_and_finds_what_it_refers_to() {
    let mut count = 0;
    for slot in super::table::all() {
        let def = slot.get();
        count += 1;
        for field in &*def.fields {
            // A reference that is not found reads as any JSON.
            let any = matches!(field.node.ty, Type::Scalar(Scalar::Any));
            assert!(!any || !field.name.ends_with("pec"), "{slot:?}.{field:?}");
        }
    }
    assert!(count > 500, "{count}");
}
