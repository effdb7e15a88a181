//! The Lease in which an election is kept (`coordination.k8s.io/v1`), as client-go's `LeaseLock` keeps it.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, Error};

use crate::causes::causes;
use crate::election::{Lock, Record};

/// One Lease. An update carries the resourceVersion of what was seen last, so that a change by somebody else is noticed.
pub struct LeaseLock {
    api: Api<Lease>,
    namespace: String,
    name: String,
    last: Mutex<Option<Lease>>,
}

// === impl LeaseLock ===

impl LeaseLock {
    /// The Lease NAMESPACE/NAME; it is made when there is none.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            last: Mutex::default(),
        }
    }

    fn keep(&self, lease: Lease) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    }

    fn said(&self, error: &Error) -> String {
        let (namespace, name) = (&self.namespace, &self.name);
        match error {
            Error::Api(status) if status.code == 403 => format!(
                "this account may not get, create and update leases.coordination.k8s.io {namespace}/{name} (deploy/metrics/base/rbac.yaml has the \
                 rule): {}",
                status.message
            ),
            error => causes(error),
        }
    }
}

#[async_trait]
impl Lock for LeaseLock {
    async fn get(&self) -> Result<Option<Record>, String> {
        let found = self.api.get_opt(&self.name).await.map_err(|e| self.said(&e))?;
        Ok(found.map(|lease| {
            let record = record(lease.spec.as_ref());
            self.keep(lease);
            record
        }))
    }

    async fn create(&self, record: &Record) -> Result<(), String> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(written(record, LeaseSpec::default())),
        };
        let made = self.api.create(&PostParams::default(), &lease).await;
        self.keep(made.map_err(|e| self.said(&e))?);
        Ok(())
    }

    async fn update(&self, record: &Record) -> Result<(), String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(mut lease) = last else {
            return Err("the lease was not read yet".to_owned());
        };
        lease.spec = Some(written(record, lease.spec.unwrap_or_default()));
        let kept = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        self.keep(kept.map_err(|e| self.said(&e))?);
        Ok(())
    }
}

/// `LeaseSpecToLeaderElectionRecord`.
fn record(spec: Option<&LeaseSpec>) -> Record {
    let Some(spec) = spec else { return Record::default() };
    Record {
        holder: spec.holder_identity.clone().unwrap_or_default(),
        seconds: spec.lease_duration_seconds.unwrap_or_default(),
        acquired: spec.acquire_time.as_ref().map(|time| time.0),
        renewed: spec.renew_time.as_ref().map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

/// `LeaderElectionRecordToLeaseSpec`; what a record does not say stays. Nobody is no name: kube-apiserver refuses an empty one.
fn written(record: &Record, spec: LeaseSpec) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(record.holder.clone()).filter(|holder| !holder.is_empty()),
        lease_duration_seconds: Some(record.seconds),
        acquire_time: record.acquired.map(MicroTime),
        renew_time: record.renewed.map(MicroTime),
        lease_transitions: Some(record.transitions),
        ..spec
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scripted::{Server, Step, status};

    fn lease(version: &str, holder: Option<&str>) -> Step {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "outrigger", "namespace": "kube-system", "resourceVersion": version},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 2,
                     "acquireTime": "2026-11-21T10:00:00.000000Z", "renewTime": "2026-11-21T10:00:02.123456Z"},
        });
        Step::Say(200, lease.to_string())
    }

    #[tokio::test]
    async fn a_lease_is_read_made_and_replaced_with_its_version() {
        let server = Server::start(vec![
            status(404, "NotFound"),
            lease("5", Some("a")),
            lease("6", Some("a")),
            lease("9", Some("b")),
            lease("10", None),
            status(409, "Conflict"),
            status(403, "Forbidden"),
        ])
        .await;
        let lock = LeaseLock::new(server.client.clone(), "kube-system", "outrigger");
        assert_eq!(lock.get().await, Ok(None));
        let mut record = Record {
            holder: "a".into(),
            seconds: 15,
            acquired: Some("2026-11-21T10:00:00Z".parse().unwrap()),
            renewed: Some("2026-11-21T10:00:02.123456Z".parse().unwrap()),
            transitions: 2,
        };
        lock.create(&record).await.unwrap();
        lock.update(&record).await.unwrap();
        record.holder = "b".into();
        assert_eq!(lock.get().await, Ok(Some(record.clone())));
        record.holder = String::new();
        lock.update(&record).await.unwrap();
        assert!(lock.update(&record).await.is_err());
        let denied = lock.get().await.unwrap_err();
        assert!(denied.contains("may not get, create and update leases"), "{denied}");
        let asked = server.asked();
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        let said = |n: usize| serde_json::from_str::<Value>(&asked[n].body).unwrap();
        assert_eq!(
            (asked[1].method.as_str(), asked[1].uri.split('?').next().unwrap()),
            ("POST", path)
        );
        assert_eq!(said(1)["spec"]["renewTime"], "2026-11-21T10:00:02.123456Z");
        assert_eq!(said(2)["metadata"]["resourceVersion"], "5");
        assert_eq!(said(4)["metadata"]["resourceVersion"], "9");
        assert_eq!(said(4)["spec"].get("holderIdentity"), None, "nobody holds it");
    }
}
