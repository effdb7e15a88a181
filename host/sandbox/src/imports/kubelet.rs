//! `kubelet`: summaries of nodes.

use crate::bindings::outrigger::plugin::kubelet;
use crate::bindings::outrigger::plugin::types::Error;
use crate::call::Call;
use crate::capabilities::Capability;
use crate::log::visible;
use crate::rows::is_object_name;

impl kubelet::Host for Call {
    async fn summary(&mut self, node: String, only_cpu_and_memory: bool) -> Result<Vec<u8>, Error> {
        self.admit(Capability::Kubelet)?;
        if !is_object_name(&node) {
            return Err(Error::Invalid(format!("{:?} is not the name of a node", visible(&node, 64))));
        }
        if let Some(own) = self.node.as_deref().filter(|own| *own != node) {
            let why = format!("this collector runs for each node, so it may ask for its target {own:?} only, not for {node:?}");
            return Err(self.deny(Capability::Kubelet, why));
        }
        let Some(kubelet) = self.granted.kubelet.clone() else {
            return Err(super::nobody("kubelets"));
        };
        let asked = kubelet.summary(&node, only_cpu_and_memory, self.host_deadline());
        let bytes = super::within(self.host_deadline(), &format!("the kubelet of node {node}"), asked).await?;
        self.spend(bytes.len())?;
        Ok(bytes.into())
    }
}
