//! What makes the parts of a manifest fit that speak of roles: virtual resources, subresources, controllers, the details of
//! capabilities, series. The tone is that of `check`.

use std::collections::BTreeSet;

use crate::check::is_dns_label;
use crate::{
    Backing, Capability, Collector, Controller, Each, Manifest, Resource, ResourceName, ScalePaths, Series, Subresource, Verb,
};

/// What a rule for objects may say.
const OBJECT_VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];
/// What a `connect` may be reached with.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Everything of this file.
pub(crate) fn check(manifest: &Manifest, wrong: &mut Vec<String>) {
    for (i, capability) in manifest.capabilities.iter().enumerate() {
        check_details(capability, &format!("capabilities[{i}]"), wrong);
    }
    for (i, resource) in manifest.resources.iter().enumerate() {
        check_backing(resource, &format!("resources[{i}]"), wrong);
    }
    for (i, collector) in manifest.collectors.iter().enumerate() {
        check_target(collector, manifest, &format!("collectors[{i}]"), wrong);
    }
    let mut names = BTreeSet::new();
    for (i, controller) in manifest.controllers.iter().enumerate() {
        let at = format!("controllers[{i}]");
        check_controller(controller, manifest, &at, wrong);
        if !names.insert(&controller.name) {
            wrong.push(format!("{at}.name: {:?} stands there twice", controller.name));
        }
    }
    let mut names = BTreeSet::new();
    for (i, series) in manifest.series.iter().enumerate() {
        let at = format!("series[{i}]");
        check_series(series, &at, wrong);
        if !names.insert(&series.name) {
            wrong.push(format!("{at}.name: {:?} stands there twice", series.name));
        }
    }
    if !manifest.series.is_empty() && !manifest.capabilities.iter().any(|c| c.name == "metrics") {
        wrong.push("series: need the capability \"metrics\"".to_owned());
    }
}

fn check_details(c: &Capability, at: &str, wrong: &mut Vec<String>) {
    for (field, of, empty) in [
        ("objects", "objects", c.objects.is_empty()),
        ("hosts", "http", c.hosts.is_empty()),
        ("secrets", "secrets", c.secrets.is_empty()),
    ] {
        match (c.name == of, empty) {
            (true, true) => wrong.push(format!("{at}.{field}: is empty; say which, so that they can be granted")),
            (false, false) => wrong.push(format!("{at}.{field}: belongs to the capability {of:?}, not to {:?}", c.name)),
            _ => {}
        }
    }
    for (k, rule) in c.objects.iter().enumerate() {
        let at = format!("{at}.objects[{k}]");
        for (field, empty) in [
            ("apiGroups", rule.api_groups.is_empty()),
            ("resources", rule.resources.is_empty()),
            ("verbs", rule.verbs.is_empty()),
        ] {
            if empty {
                wrong.push(format!("{at}.{field}: is empty"));
            }
        }
        for verb in rule.verbs.iter().filter(|v| !OBJECT_VERBS.contains(&v.as_str())) {
            wrong.push(format!("{at}.verbs: {verb:?} is none of {}", OBJECT_VERBS.join(", ")));
        }
        for name in rule.api_groups.iter().chain(&rule.resources).filter(|n| n.contains('*')) {
            wrong.push(format!("{at}: {name:?}: a plugin names what it needs, without \"*\""));
        }
    }
    for host in c.hosts.iter().filter(|h| !is_host(h)) {
        wrong.push(format!("{at}.hosts: {host:?} is none of HOST, HOST:PORT, *.DOMAIN"));
    }
    for name in c.secrets.iter().filter(|n| !is_dns_label(n)) {
        wrong.push(format!("{at}.secrets: {name:?} is not a DNS label"));
    }
}

/// `HOST`, `HOST:PORT`, `*.DOMAIN` or `*.DOMAIN:PORT`; IP addresses are hosts, those of IPv6 in brackets.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    let in_brackets = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let fits = match in_brackets {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.split('.').all(|label| is_dns_label(&label.to_ascii_lowercase())),
    };
    fits && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p != 0))
}

fn check_backing(r: &Resource, at: &str, wrong: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for (k, s) in r.subresources.iter().enumerate() {
        let at = format!("{at}.subresources[{k}]");
        check_subresource(s, &at, wrong);
        if !names.insert(&s.name) {
            wrong.push(format!("{at}.name: {:?} stands there twice", s.name));
        }
    }
    let is_table = matches!(r.backing, Backing::Table { .. });
    for (k, column) in r.columns.iter().enumerate() {
        let at = format!("{at}.columns[{k}].jsonPath");
        match (is_table, column.json_path.as_str()) {
            (true, "") => {}
            (true, _) => wrong.push(format!("{at}: rows of a table bring their cells, so it must be absent")),
            (false, path) if !path.starts_with('.') => {
                wrong.push(format!("{at}: {path:?} does not begin with a dot, such as \".spec.tonnage\""));
            }
            (false, _) => {}
        }
    }
    match &r.backing {
        Backing::Table { .. } if !r.subresources.is_empty() => {
            wrong.push(format!("{at}.subresources: a table has none"));
        }
        Backing::Virtual { verbs, poll_seconds } => {
            let has = |verb| verbs.contains(&verb);
            if verbs.is_empty() {
                wrong.push(format!("{at}.backing.virtual.verbs: is empty"));
            }
            if has(Verb::Connect) {
                wrong.push(format!("{at}.backing.virtual.verbs: \"connect\" belongs to a subresource"));
            }
            // Whoever deletes a namespace lists, then deletes; what cannot be listed cannot be emptied.
            if has(Verb::Delete) && !has(Verb::List) {
                wrong.push(format!(
                    "{at}.backing.virtual.verbs: \"delete\" needs \"list\": what cannot be emptied must not offer to be"
                ));
            }
            if *poll_seconds > 0 && !has(Verb::List) {
                wrong.push(format!("{at}.backing.virtual.pollSeconds: needs \"list\""));
            }
            if r.protobuf {
                wrong.push(format!("{at}.protobuf: is for tables"));
            }
        }
        Backing::Stored {
            storage_version, scale, ..
        } => {
            let at_backing = format!("{at}.backing.stored");
            if r.protobuf {
                wrong.push(format!("{at}.protobuf: is for tables"));
            }
            if !storage_version.is_empty() && !r.versions.contains(storage_version) {
                wrong.push(format!(
                    "{at_backing}.storageVersion: {storage_version:?} is not one of the resource's versions"
                ));
            }
            // They are declared with the backing, and served by the host alone.
            for name in r.subresources.iter().map(|s| s.name.as_str()) {
                if matches!(name, "status" | "scale") {
                    wrong.push(format!("{at}.subresources: {name:?} is declared as {at_backing}.{name}"));
                }
            }
            if let Some(scale) = scale {
                check_scale(scale, &format!("{at_backing}.scale"), wrong);
            }
        }
        _ => {}
    }
}

/// The rules of a CRD's `subresources.scale`.
fn check_scale(scale: &ScalePaths, at: &str, wrong: &mut Vec<String>) {
    let is_path = |path: &str, roots: &[&str]| {
        let inside = roots
            .iter()
            .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.starts_with('.')));
        inside
            && path
                .split('.')
                .skip(1)
                .all(|member| !member.is_empty() && !member.contains(['[', ']', '*', '\\', '"', '\'']))
    };
    for (field, path, roots, needed) in [
        ("specReplicasPath", &scale.spec_replicas_path, &[".spec"][..], true),
        ("statusReplicasPath", &scale.status_replicas_path, &[".status"], true),
        ("labelSelectorPath", &scale.label_selector_path, &[".spec", ".status"], false),
    ] {
        if (needed || !path.is_empty()) && !is_path(path, roots) {
            wrong.push(format!(
                "{at}.{field}: {path:?} is not a dotted path under {}",
                roots.join(" or ")
            ));
        }
    }
}

fn check_subresource(s: &Subresource, at: &str, wrong: &mut Vec<String>) {
    if !is_dns_label(&s.name) {
        wrong.push(format!("{at}.name: {:?} is not a DNS label", s.name));
    }
    let connects = s.verbs.contains(&Verb::Connect);
    let fits = match connects {
        true => s.verbs.len() == 1,
        false => s.verbs.contains(&Verb::Get) && s.verbs.iter().all(|v| matches!(v, Verb::Get | Verb::Update)),
    };
    if !fits {
        wrong.push(format!(
            "{at}.verbs: must be \"get\", \"get\" and \"update\", or \"connect\" alone"
        ));
    }
    if !(connects || s.methods.is_empty() && s.protocols.is_empty()) {
        wrong.push(format!("{at}: methods and protocols are for \"connect\""));
    }
    for method in s.methods.iter().filter(|m| !METHODS.contains(&m.as_str())) {
        wrong.push(format!("{at}.methods: {method:?} is none of {}", METHODS.join(", ")));
    }
    let is_token = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    for protocol in s.protocols.iter().filter(|p| !is_token(p)) {
        wrong.push(format!("{at}.protocols: {protocol:?} is not the name of a subprotocol"));
    }
}

fn check_target(c: &Collector, manifest: &Manifest, at: &str, wrong: &mut Vec<String>) {
    match (c.each, &c.of) {
        (Each::Object, None) => wrong.push(format!("{at}.of: is missing; say for whose objects it runs")),
        (Each::Object, Some(of)) => check_watched(of, manifest, &format!("{at}.of"), wrong),
        (_, Some(_)) => wrong.push(format!("{at}.of: is for each \"object\"")),
        (_, None) => {}
    }
}

fn check_controller(c: &Controller, manifest: &Manifest, at: &str, wrong: &mut Vec<String>) {
    if !is_dns_label(&c.name) {
        wrong.push(format!("{at}.name: {:?} is not a DNS label", c.name));
    }
    check_watched(&c.primary, manifest, &format!("{at}.for"), wrong);
    for (k, owned) in c.owns.iter().enumerate() {
        check_watched(owned, manifest, &format!("{at}.owns[{k}]"), wrong);
    }
}

/// The host watches with the plugin's own rights, so the plugin must ask for them.
fn check_watched(name: &ResourceName, manifest: &Manifest, at: &str, wrong: &mut Vec<String>) {
    if name.version.is_empty() || name.resource.is_empty() {
        wrong.push(format!("{at}: needs version and resource"));
        return;
    }
    let rules = manifest.capabilities.iter().flat_map(|c| &c.objects);
    let asked = |verb: &str| {
        rules.clone().any(|rule| {
            rule.api_groups.contains(&name.group)
                && rule.resources.contains(&name.resource)
                && rule.verbs.iter().any(|v| v == verb)
        })
    };
    if !(asked("list") && asked("watch")) {
        let group = if name.group.is_empty() { "core" } else { &name.group };
        wrong.push(format!(
            "{at}: needs the capability \"objects\" with list and watch of {} in {group}",
            name.resource
        ));
    }
}

fn check_series(s: &Series, at: &str, wrong: &mut Vec<String>) {
    let is_name = |n: &str| {
        n.len() <= 64
            && n.starts_with(|c: char| c.is_ascii_lowercase())
            && n.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if !is_name(&s.name) || s.name.ends_with("_total") {
        wrong.push(format!(
            "{at}.name: {:?} is not a name in snake_case without \"_total\"",
            s.name
        ));
    }
    if s.help.trim().is_empty() {
        wrong.push(format!("{at}.help: is empty"));
    }
    let mut seen = BTreeSet::new();
    for label in &s.labels {
        if !is_name(label) || label == "plugin" || !seen.insert(label) {
            wrong.push(format!("{at}.labels: {label:?} is not a label of its own in snake_case"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, ObjectRule, Scope};

    fn ships(verbs: &[Verb]) -> Resource {
        Resource::virtual_("Ship", "ships", Scope::Namespaced, verbs.iter().copied())
            .group("harbor.example.com")
            .version("v1")
    }

    fn configmaps() -> ResourceName {
        ResourceName::new("", "v1", "configmaps")
    }

    #[test]
    fn what_does_not_fit_is_said() {
        use Verb::{Connect, Create, Delete, Get, List, Update};
        let new = || Manifest::new("harbor", "1");
        let rule = |verbs: &[&str]| ObjectRule::of("", "configmaps").verbs(verbs.iter().copied());
        let watching = || new().needs_objects([rule(&["list", "watch"])], "keeps them");
        for (name, manifest, want) in [
            (
                "all verbs",
                new().resource(ships(&[Get, List, Create, Update, Delete]).poll_seconds(5)),
                "",
            ),
            (
                "no verbs",
                new().resource(ships(&[])),
                "resources[0].backing.virtual.verbs: is empty",
            ),
            (
                "never emptied",
                new().resource(ships(&[Get, Delete])),
                "\"delete\" needs \"list\"",
            ),
            ("connect", new().resource(ships(&[Connect])), "belongs to a subresource"),
            (
                "poll",
                new().resource(ships(&[Get]).poll_seconds(5)),
                "pollSeconds: needs \"list\"",
            ),
            (
                "a stream",
                new().resource(ships(&[Get]).subresource(Subresource::connect("log").protocol("v5.channel.k8s.io"))),
                "",
            ),
            (
                "a part",
                new().resource(ships(&[Get]).subresource(Subresource::part("status", [Get, Update]))),
                "",
            ),
            (
                "a part that streams",
                new().resource(ships(&[Get]).subresource(Subresource::part("x", [Get, Connect]))),
                "subresources[0].verbs",
            ),
            (
                "twice",
                new().resource(
                    ships(&[Get])
                        .subresource(Subresource::connect("x"))
                        .subresource(Subresource::connect("x")),
                ),
                "stands there twice",
            ),
            (
                "method",
                new().resource(ships(&[Get]).subresource(Subresource::connect("x").method("get"))),
                "methods: \"get\" is none of",
            ),
            (
                "a column",
                new().resource(ships(&[Get]).column(Column::string("Flag").path(".spec.flag"))),
                "",
            ),
            (
                "a column from nowhere",
                new().resource(ships(&[Get]).column(Column::string("Flag"))),
                "jsonPath: \"\" does not begin",
            ),
            ("objects", watching(), ""),
            ("objects without rules", new().needs("objects", "why"), "objects: is empty"),
            (
                "a verb that is none",
                new().needs_objects([rule(&["destroy"])], "why"),
                "\"destroy\" is none of",
            ),
            (
                "everything",
                new().needs_objects([ObjectRule::of("*", "pods").verbs(["get"])], "why"),
                "without \"*\"",
            ),
            (
                "hosts",
                new().needs_http(["api.example.com", "*.example.com:8443", "127.0.0.1:80", "[::1]:80"], "why"),
                "",
            ),
            ("not a host", new().needs_http(["http://x"], "why"), "\"http://x\" is none of"),
            ("secrets", new().needs_secrets(["token"], "why"), ""),
            (
                "a controller",
                watching().controller(Controller::new("keep", configmaps())),
                "",
            ),
            (
                "a blind controller",
                new().controller(Controller::new("keep", configmaps())),
                "controllers[0].for: needs the capability",
            ),
            (
                "series",
                new()
                    .needs("metrics", "counts")
                    .series(Series::counter("seen", "How many.").label("kind")),
                "",
            ),
            (
                "a name",
                new()
                    .needs("metrics", "counts")
                    .series(Series::counter("seen_total", "How many.")),
                "without \"_total\"",
            ),
        ] {
            let found = manifest.check().map_or_else(|e| e.to_string(), |()| String::new());
            assert!(
                found.contains(want) && (found.is_empty() == want.is_empty()),
                "{name}: {found:?}"
            );
        }
    }
}
