//! Label and field selectors: what parses, prints, and parses again to the same.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use outrigger_api::selector::{FieldSelector, LabelSelector};

fuzz_target!(|text: &str| {
    if let Ok(selector) = LabelSelector::parse(text) {
        let printed = selector.to_string();
        let again = LabelSelector::parse(&printed);
        assert_eq!(
            again.as_ref().map(ToString::to_string).ok(),
            Some(printed.clone()),
            "{printed:?}: {again:?}"
        );
        // Labels made to fit each requirement, and none at all, are judged the same by both.
        let again = again.unwrap();
        let mut labels = BTreeMap::new();
        assert_eq!(selector.matches(&labels), again.matches(&labels), "{printed:?} of no labels");
        for requirement in selector.requirements() {
            let value = requirement.values.first().cloned().unwrap_or_default();
            labels.insert(requirement.key.clone(), value);
            assert_eq!(selector.matches(&labels), again.matches(&labels), "{printed:?} of {labels:?}");
        }
        assert_eq!(selector.is_empty(), selector.requirements().is_empty());
        assert!(!selector.is_empty() || selector.matches(&labels));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let printed = selector.to_string();
        assert_eq!(FieldSelector::parse(&printed).as_ref(), Ok(&selector), "{printed:?}");
        if let Some(name) = selector.exact_name() {
            assert!(
                !selector.matches("namespace", &format!("{name}x")),
                "{printed:?} names one object"
            );
        }
    }
});
