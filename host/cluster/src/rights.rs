//! What this process must be allowed, and what to do when it is not: one sentence that names whom to bind to what.
//!
//! Who we are is kube-apiserver's to say, and it does in every 403 (`User "system:serviceaccount:NS:NAME" cannot …`); kubelets write
//! `user=…`. The words come from elsewhere and end up in a command that somebody pastes, so a name that could be anything but a
//! name is not taken over.

use std::fmt;

/// Something that this process must be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To create TokenReviews and SubjectAccessReviews.
    Review,
    /// To read the ConfigMap with the aggregator's trust.
    ReadTrust,
    /// To list and watch this resource of the core group.
    Follow(&'static str),
    /// To read kubelets' summaries.
    ReadStats,
}

/// The user as whom kube-apiserver knows us, if it has said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(Option<String>);

// === impl Right ===

impl Right {
    /// How to give it: a shell command, complete but for an account that nobody has named.
    #[must_use]
    pub fn cure(self, account: &Account) -> String {
        let (name, subject) = (account.short(), account.flag());
        let of_its_own = |suffix: &str, verbs: &str, resource: &str| {
            format!(
                "kubectl create clusterrole {name}:{suffix} --verb={verbs} --resource={resource} && kubectl create clusterrolebinding \
                 {name}:{suffix} --clusterrole={name}:{suffix} {subject}"
            )
        };
        match self {
            Self::Review => format!(
                "kubectl create clusterrolebinding {name}:system:auth-delegator --clusterrole=system:auth-delegator {subject}"
            ),
            Self::ReadTrust => format!(
                "kubectl create rolebinding {name}-auth-reader -n kube-system --role=extension-apiserver-authentication-reader \
                 {subject}"
            ),
            Self::Follow(resource) => of_its_own(resource, "get,list,watch", resource),
            Self::ReadStats => of_its_own("stats", "get", "nodes/stats"),
        }
    }
}

// === impl Account ===

impl Account {
    /// The account that a refusal names.
    #[must_use]
    pub fn named_in(refusal: &str) -> Self {
        let after = |mark: &str, end: [char; 3]| {
            let (_, rest) = refusal.split_once(mark)?;
            rest.split(end).next().map(str::to_owned)
        };
        let name = after("User \"", ['"', '\\', ' ']).or_else(|| after("user=", [',', ')', ' ']));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ":.-_@".contains(c);
        Self(name.filter(|n| !n.is_empty() && n.len() < 256 && !n.starts_with('-') && n.chars().all(is_plain)))
    }

    /// Namespace and name, if it is a ServiceAccount.
    fn service_account(&self) -> Option<(&str, &str)> {
        self.0.as_deref()?.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    fn short(&self) -> &str {
        self.service_account().map_or("outrigger", |(_, name)| name)
    }

    fn flag(&self) -> String {
        match (self.service_account(), &self.0) {
            (Some((namespace, name)), _) => format!("--serviceaccount={namespace}:{name}"),
            (None, Some(user)) => format!("--user={user}"),
            (None, None) => "--serviceaccount=NAMESPACE:NAME".to_owned(),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.service_account(), &self.0) {
            (Some((namespace, name)), _) => write!(f, "ServiceAccount {namespace}/{name}"),
            (None, Some(user)) => write!(f, "user {user}"),
            (None, None) => f.write_str("this process's account"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_account() {
        for (said, named, flag) in [
            (
                r#"nodes is forbidden: User "system:serviceaccount:kube-system:metrics-server" cannot list resource "nodes" in API group """#,
                "ServiceAccount kube-system/metrics-server",
                "--serviceaccount=kube-system:metrics-server",
            ),
            (
                "Forbidden (user=system:serviceaccount:ops:outrigger, verb=get, resource=nodes, subresource(s)=[stats])",
                "ServiceAccount ops/outrigger",
                "--serviceaccount=ops:outrigger",
            ),
            (
                r#"… User "jane@example.com" cannot …"#,
                "user jane@example.com",
                "--user=jane@example.com",
            ),
            (
                r#"User "x; rm -rf /" cannot"#,
                "this process's account",
                "--serviceaccount=NAMESPACE:NAME",
            ),
            (
                "Forbidden (user=$(reboot), verb=get)",
                "this process's account",
                "--serviceaccount=NAMESPACE:NAME",
            ),
            (
                "User \"--all\" cannot",
                "this process's account",
                "--serviceaccount=NAMESPACE:NAME",
            ),
            ("Forbidden", "this process's account", "--serviceaccount=NAMESPACE:NAME"),
        ] {
            let account = Account::named_in(said);
            assert_eq!(
                (account.to_string().as_str(), account.flag().as_str()),
                (named, flag),
                "{said}"
            );
        }
    }

    #[test]
    fn every_right_has_a_cure() {
        let account = Account::named_in("user=system:serviceaccount:kube-system:metrics-server,");
        for (right, cure) in [
            (
                Right::Review,
                "kubectl create clusterrolebinding metrics-server:system:auth-delegator --clusterrole=system:auth-delegator \
                 --serviceaccount=kube-system:metrics-server",
            ),
            (
                Right::ReadTrust,
                "kubectl create rolebinding metrics-server-auth-reader -n kube-system \
                 --role=extension-apiserver-authentication-reader --serviceaccount=kube-system:metrics-server",
            ),
            (
                Right::Follow("pods"),
                "kubectl create clusterrole metrics-server:pods --verb=get,list,watch --resource=pods && kubectl create \
                 clusterrolebinding metrics-server:pods --clusterrole=metrics-server:pods \
                 --serviceaccount=kube-system:metrics-server",
            ),
            (
                Right::ReadStats,
                "kubectl create clusterrole metrics-server:stats --verb=get --resource=nodes/stats && kubectl create \
                 clusterrolebinding metrics-server:stats --clusterrole=metrics-server:stats \
                 --serviceaccount=kube-system:metrics-server",
            ),
        ] {
            assert_eq!(right.cure(&account), cure);
        }
    }
}
