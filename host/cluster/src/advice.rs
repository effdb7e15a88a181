//! What can be wrong between this host and its cluster, and what mends it: each sentence once, in one place.
//!
//! `outrigger serve` logs these conditions when it meets them and `outrigger doctor` reports them when it looks for them. Both
//! say the same words, so that who reads one finds the other, and `docs/doctor.md` lists them all. A sentence has two halves,
//! what is wrong and the one thing to do about it, and a code that never changes.
//!
//! [`sentences!`](crate::sentences) makes an enum of such conditions: typed values go in, and the words cannot be said without them. The
//! words never hold a secret: what is put in is names, addresses, times and other people's error texts. Those last come from
//! strangers; whoever prints to a terminal makes them harmless first.

use std::fmt;

/// How bad a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something does not work.
    Fail,
    /// It works, but not for ever or not as it should.
    Warn,
    /// It could not be looked at.
    Skip,
}

/// A condition as the documentation lists it: what stands in braces is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sentence {
    /// Never changes, so that programs and pages may refer to it.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub wrong: &'static str,
    /// What to do about it; empty if there is nothing to do.
    pub cure: &'static str,
}

/// The service account that the host acts as, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// In words.
    said: String,
    /// Its name, for what is named after it.
    name: String,
    /// `NAMESPACE:NAME`, as kubectl's `--serviceaccount` wants it.
    of: String,
}

/// Makes an enum of conditions. Each entry reads: severity, variant, its fields (text, all of them), code, what is wrong, and what
/// to do; both texts may name the fields in braces. The enum gets `ALL`, `sentence`, `wrong`, `cure`, and is displayed as
/// `wrong; cure`.
#[macro_export]
macro_rules! sentences {
    (
        $(#[$about:meta])*
        $visibility:vis enum $Name:ident {
            $(
                $(#[$doc:meta])*
                $Severity:ident $Variant:ident { $($field:ident),* $(,)? } = $code:literal, $wrong:literal, $cure:literal;
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the fields are the words in braces of the sentence below each variant")]
        $visibility enum $Name {
            $(
                $(#[$doc])*
                #[doc = ""]
                #[doc = $wrong]
                $Variant { $($field: String),* },
            )+
        }

        #[allow(unused_variables, reason = "a half of a sentence need not name every field")]
        impl $Name {
            /// All of them, as the documentation lists them.
            pub const ALL: &[$crate::advice::Sentence] = &[
                $($crate::advice::Sentence {
                    code: $code,
                    severity: $crate::advice::Severity::$Severity,
                    wrong: $wrong,
                    cure: $cure,
                }),+
            ];

            /// Its code, how bad it is, and the words that have yet to be filled in.
            #[must_use]
            pub fn sentence(&self) -> $crate::advice::Sentence {
                match self {
                    $(Self::$Variant { .. } => $crate::advice::Sentence {
                        code: $code,
                        severity: $crate::advice::Severity::$Severity,
                        wrong: $wrong,
                        cure: $cure,
                    }),+
                }
            }

            /// What is wrong.
            #[must_use]
            pub fn wrong(&self) -> String {
                match self {
                    $(Self::$Variant { $($field),* } => format!($wrong)),+
                }
            }

            /// What to do about it; empty if there is nothing to do.
            #[must_use]
            pub fn cure(&self) -> String {
                match self {
                    $(Self::$Variant { $($field),* } => format!($cure)),+
                }
            }
        }

        impl ::std::fmt::Display for $Name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let (wrong, cure) = (self.wrong(), self.cure());
                f.write_str(&wrong)?;
                if !cure.is_empty() {
                    f.write_str("; ")?;
                    f.write_str(&cure)?;
                }
                Ok(())
            }
        }
    };
}

sentences! {
    /// What `serve` meets and `doctor` looks for. Make the values with the functions below where there are any: they fill in the
    /// commands.
    pub enum Advice {
        /// Nobody can be asked who is calling, or whether they may: every request that is not the aggregator's probe is refused.
        Fail ReviewsDenied { account, review, name, of } = "reviews-denied",
            "{account} may not create {review}, so callers cannot be told apart or let in",
            "bind ClusterRole system:auth-delegator to it: kubectl create clusterrolebinding {name}:system:auth-delegator \
             --clusterrole=system:auth-delegator --serviceaccount={of}";
        /// The front-proxy CA cannot be read: nobody whom the aggregator speaks for is believed.
        Fail TrustDenied { account, name, of } = "trust-denied",
            "{account} may not read ConfigMap kube-system/extension-apiserver-authentication, so the aggregator is not believed",
            "bind Role extension-apiserver-authentication-reader to it with a RoleBinding in kube-system: kubectl create rolebinding \
             {name}-auth-reader -n kube-system --role=extension-apiserver-authentication-reader --serviceaccount={of}";
        /// Nodes, pods or kubelets are out of sight.
        Fail ReadDenied { account, verbs, resource, name, of, role } = "read-denied",
            "{account} may not {verbs} {resource}",
            "grant it (deploy/metrics/base/rbac.yaml has the rule): kubectl create clusterrole {name}:{role} --verb={verbs} --resource={resource} && \
             kubectl create clusterrolebinding {name}:{role} --clusterrole={name}:{role} --serviceaccount={of}";
        /// A plugin may not do what its manifest asks for.
        Fail PluginDenied { plugin, verbs, resource, role } = "plugin-denied",
            "plugin {plugin} (user outrigger:plugin:{plugin}) may not {verbs} {resource}",
            "if it shall: kubectl create clusterrole outrigger:plugin:{plugin}:{role} --verb={verbs} --resource={resource} && \
             kubectl create clusterrolebinding outrigger:plugin:{plugin}:{role} --clusterrole=outrigger:plugin:{plugin}:{role} \
             --user=outrigger:plugin:{plugin}";
        /// The host may not act as a plugin.
        Fail ImpersonationDenied { account, plugin, name, of } = "impersonation-denied",
            "{account} may not act as user outrigger:plugin:{plugin} in group outrigger:plugins",
            "if the plugin shall reach objects: kubectl create clusterrole {name}:as-{plugin} --verb=impersonate \
             --resource=users,groups --resource-name=outrigger:plugin:{plugin} --resource-name=outrigger:plugins && \
             kubectl create clusterrolebinding {name}:as-{plugin} --clusterrole={name}:as-{plugin} --serviceaccount={of}";
        /// The authority that replicas share cannot be read or renewed.
        Fail CaSecretDenied { account, verbs, namespace, secret, name, of } = "ca-secret-denied",
            "{account} may not {verbs} Secret {namespace}/{secret}, which --ca-secret names",
            "grant it (deploy/metrics has the rule): kubectl create role {name}:{secret} -n {namespace} --verb={verbs} \
             --resource=secrets --resource-name={secret} && kubectl create rolebinding {name}:{secret} -n {namespace} \
             --role={name}:{secret} --serviceaccount={of}";
        /// The authority that replicas share cannot be made.
        Fail CaSecretNotMade { account, namespace, secret, name, of } = "ca-secret-not-made",
            "there is no Secret {namespace}/{secret}, which --ca-secret names, and {account} may not create Secrets in {namespace}",
            "make it empty, and it is filled: kubectl create secret generic {secret} -n {namespace} && kubectl label secret {secret} \
             -n {namespace} app.kubernetes.io/managed-by=outrigger; or grant it: kubectl create role {name}:create-{secret} \
             -n {namespace} --verb=create --resource=secrets && kubectl create rolebinding {name}:create-{secret} -n {namespace} \
             --role={name}:create-{secret} --serviceaccount={of}";
        /// The token or certificate that we show kube-apiserver is none of its own.
        Fail CallerUnknown {} = "caller-unknown",
            "kube-apiserver does not know who we are (401)",
            "the token or certificate of the kubeconfig or service account has expired or is of another cluster: renew it";
        /// There is no ConfigMap to read.
        Fail TrustMissing {} = "trust-missing",
            "there is no ConfigMap kube-system/extension-apiserver-authentication",
            "start kube-apiserver with --requestheader-client-ca-file; it writes the ConfigMap again within a minute";
        /// A key of the ConfigMap is not what it should be; the last good one stays in force.
        Fail TrustMalformed { key, should } = "trust-malformed",
            "key {key} of ConfigMap kube-system/extension-apiserver-authentication is not {should}",
            "delete the ConfigMap, kube-apiserver writes it anew within a minute: \
             kubectl delete configmap -n kube-system extension-apiserver-authentication";
        /// The ConfigMap does not speak of a front proxy.
        Fail FrontProxyMissing {} = "front-proxy-missing",
            "ConfigMap kube-system/extension-apiserver-authentication has no requestheader-client-ca-file, so nobody whom the aggregator \
             speaks for is believed",
            "start kube-apiserver with --requestheader-client-ca-file, --proxy-client-cert-file and --proxy-client-key-file";
        /// None of the authorities of a bundle is still good.
        Fail AuthorityExpired { bundle, when } = "authority-expired",
            "every certificate authority of {bundle} has expired (the last one on {when})",
            "put the authority that signs today's certificates there";
        /// An authority will not be good for long.
        Warn AuthorityExpiring { bundle, when } = "authority-expiring",
            "the last certificate authority of {bundle} expires on {when}",
            "renew it before, and everything that it has signed";
        /// An authority begins in the future: somebody's clock is wrong.
        Fail AuthorityNotYet { bundle, when } = "authority-not-yet",
            "no certificate authority of {bundle} is valid before {when}",
            "set the clocks right";
    }
}

// === impl Advice ===

impl Advice {
    /// What a refusal of something that a plugin asked for calls for. `resource` as kubectl's `--resource` wants it
    /// (`ships.harbor.example.com`); it comes from the plugin and ends up in a command that somebody pastes, so what could be anything
    /// but a name is not taken over.
    #[must_use]
    pub fn of_plugin(plugin: &str, verbs: &str, resource: &str, refusal: &str) -> Self {
        if refusal.contains("cannot impersonate") {
            return Account::named_in(refusal).may_not_act_as(plugin);
        }
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-/".contains(c);
        let plain = !resource.is_empty() && resource.chars().all(is_plain) && !resource.starts_with('-');
        let resource = if plain { resource } else { "RESOURCE" };
        Self::PluginDenied {
            plugin: plugin.into(),
            verbs: verbs.into(),
            resource: resource.into(),
            role: resource.replace('/', "-"),
        }
    }
}

// === impl Account ===

impl Account {
    /// Whoever this process acts as; commands name it NAMESPACE:NAME.
    #[must_use]
    pub fn own() -> Self {
        Self {
            said: "this service account".into(),
            name: "NAME".into(),
            of: "NAMESPACE:NAME".into(),
        }
    }

    /// A service account by its name.
    #[must_use]
    pub fn named(namespace: &str, name: &str) -> Self {
        Self {
            said: format!("service account {namespace}/{name}"),
            name: name.into(),
            of: format!("{namespace}:{name}"),
        }
    }

    /// The service account that a refusal names: kube-apiserver and kubelets say in every 403 whom they refuse (`User "…" cannot`,
    /// `user=…,`). The words come from elsewhere and end up in a command that somebody pastes, so what could be anything but a name
    /// is not taken over.
    #[must_use]
    pub fn named_in(refusal: &str) -> Self {
        let after = |mark: &str| refusal.split_once(mark).map(|(_, rest)| rest);
        let name = after("User \"").or_else(|| after("user=")).and_then(|rest| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || ":.-".contains(c);
            let (name, end) = rest.split_at(rest.find(|c| !is_plain(c))?);
            let account = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
            end.starts_with(['"', '\\', ',', ')']).then_some(account)
        });
        let is_name = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.contains(':');
        match name {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => Self::named(namespace, name),
            _ => Self::own(),
        }
    }

    /// `review` is `TokenReviews` or `SubjectAccessReviews`.
    #[must_use]
    pub fn may_not_create(&self, review: &str) -> Advice {
        Advice::ReviewsDenied {
            account: self.said.clone(),
            review: review.into(),
            name: self.name.clone(),
            of: self.of.clone(),
        }
    }

    /// See [`Advice::ImpersonationDenied`].
    #[must_use]
    pub fn may_not_act_as(&self, plugin: &str) -> Advice {
        Advice::ImpersonationDenied {
            account: self.said.clone(),
            plugin: plugin.into(),
            name: self.name.clone(),
            of: self.of.clone(),
        }
    }

    /// See [`Advice::TrustDenied`].
    #[must_use]
    pub fn may_not_read_trust(&self) -> Advice {
        Advice::TrustDenied {
            account: self.said.clone(),
            name: self.name.clone(),
            of: self.of.clone(),
        }
    }

    /// See [`Advice::CaSecretDenied`].
    #[must_use]
    pub fn may_not_keep_secret(&self, verbs: &str, namespace: &str, secret: &str) -> Advice {
        Advice::CaSecretDenied {
            account: self.said.clone(),
            verbs: verbs.into(),
            namespace: namespace.into(),
            secret: secret.into(),
            name: self.name.clone(),
            of: self.of.clone(),
        }
    }

    /// See [`Advice::CaSecretNotMade`].
    #[must_use]
    pub fn may_not_create_secret(&self, namespace: &str, secret: &str) -> Advice {
        Advice::CaSecretNotMade {
            account: self.said.clone(),
            namespace: namespace.into(),
            secret: secret.into(),
            name: self.name.clone(),
            of: self.of.clone(),
        }
    }

    /// `verbs` as kubectl's `--verb` wants them (`list,watch`), `resource` with its subresource if it has one (`nodes/stats`).
    #[must_use]
    pub fn may_not_read(&self, verbs: &str, resource: &str) -> Advice {
        Advice::ReadDenied {
            account: self.said.clone(),
            verbs: verbs.into(),
            resource: resource.into(),
            name: self.name.clone(),
            of: self.of.clone(),
            role: resource.replace('/', "-"),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fail => "FAIL",
            Self::Warn => "WARN",
            Self::Skip => "SKIP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sentence_says_what_is_wrong_and_what_to_do() {
        let account = Account::named("kube-system", "metrics-server");
        let cases = [
            (
                account.may_not_create("TokenReviews"),
                "reviews-denied",
                "service account kube-system/metrics-server may not create TokenReviews, so callers cannot be told apart or let in; \
                 bind ClusterRole system:auth-delegator to it: kubectl create clusterrolebinding metrics-server:system:auth-delegator \
                 --clusterrole=system:auth-delegator --serviceaccount=kube-system:metrics-server",
            ),
            (
                account.may_not_read_trust(),
                "trust-denied",
                "service account kube-system/metrics-server may not read ConfigMap kube-system/extension-apiserver-authentication, so \
                 the aggregator is not believed; bind Role extension-apiserver-authentication-reader to it with a RoleBinding in \
                 kube-system: kubectl create rolebinding metrics-server-auth-reader -n kube-system \
                 --role=extension-apiserver-authentication-reader --serviceaccount=kube-system:metrics-server",
            ),
            (
                Account::own().may_not_read("get", "nodes/stats"),
                "read-denied",
                "this service account may not get nodes/stats; grant it (deploy/metrics/base/rbac.yaml has the rule): kubectl create clusterrole \
                 NAME:nodes-stats --verb=get --resource=nodes/stats && kubectl create clusterrolebinding NAME:nodes-stats \
                 --clusterrole=NAME:nodes-stats --serviceaccount=NAMESPACE:NAME",
            ),
            (
                Advice::of_plugin("keeper", "list,watch", "ships.harbor.example.com", "ships is forbidden"),
                "plugin-denied",
                "plugin keeper (user outrigger:plugin:keeper) may not list,watch ships.harbor.example.com; if it shall: kubectl create \
                 clusterrole outrigger:plugin:keeper:ships.harbor.example.com --verb=list,watch --resource=ships.harbor.example.com && \
                 kubectl create clusterrolebinding outrigger:plugin:keeper:ships.harbor.example.com \
                 --clusterrole=outrigger:plugin:keeper:ships.harbor.example.com --user=outrigger:plugin:keeper",
            ),
            (
                Advice::of_plugin("keeper", "list", "x; reboot", "forbidden"),
                "plugin-denied",
                "plugin keeper (user outrigger:plugin:keeper) may not list RESOURCE; if it shall: kubectl create clusterrole \
                 outrigger:plugin:keeper:RESOURCE --verb=list --resource=RESOURCE && kubectl create clusterrolebinding \
                 outrigger:plugin:keeper:RESOURCE --clusterrole=outrigger:plugin:keeper:RESOURCE --user=outrigger:plugin:keeper",
            ),
            (
                Advice::of_plugin(
                    "keeper",
                    "list",
                    "ships",
                    r#"users "outrigger:plugin:keeper" is forbidden: User "system:serviceaccount:kube-system:metrics-server" cannot impersonate resource "users""#,
                ),
                "impersonation-denied",
                "service account kube-system/metrics-server may not act as user outrigger:plugin:keeper in group outrigger:plugins; if the \
                 plugin shall reach objects: kubectl create clusterrole metrics-server:as-keeper --verb=impersonate \
                 --resource=users,groups --resource-name=outrigger:plugin:keeper --resource-name=outrigger:plugins && kubectl create \
                 clusterrolebinding metrics-server:as-keeper --clusterrole=metrics-server:as-keeper \
                 --serviceaccount=kube-system:metrics-server",
            ),
        ];
        for (advice, code, expected) in cases {
            assert_eq!(advice.to_string(), expected);
            assert_eq!(advice.sentence().code, code);
        }
    }

    #[test]
    fn a_refusal_names_the_account() {
        let known = Account::named("kube-system", "metrics-server");
        for (said, account) in [
            (
                r#"nodes is forbidden: User "system:serviceaccount:kube-system:metrics-server" cannot list resource "nodes""#,
                known.clone(),
            ),
            (
                "Forbidden (user=system:serviceaccount:kube-system:metrics-server, verb=get, resource=nodes, subresource(s)=[stats])",
                known,
            ),
            (r#"User "jane" cannot"#, Account::own()),
            (r#"User "system:serviceaccount:a:b; reboot" cannot"#, Account::own()),
            ("Forbidden (user=system:serviceaccount:a:$(reboot), verb=get)", Account::own()),
            ("user=system:serviceaccount:a:--all,", Account::own()),
            ("Forbidden", Account::own()),
        ] {
            assert_eq!(Account::named_in(said), account, "{said}");
        }
    }

    #[test]
    fn codes_are_unique_and_every_failure_has_a_cure() {
        let mut codes: Vec<&str> = Advice::ALL.iter().map(|s| s.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Advice::ALL.len());
        for sentence in Advice::ALL {
            assert!(!sentence.cure.is_empty(), "{}", sentence.code);
            assert!(
                !sentence.wrong.ends_with('.') && !sentence.cure.ends_with('.'),
                "{}",
                sentence.code
            );
        }
    }
}
