//! What is published of virtual resources, after kube-apiserver has merged it.

use anyhow::ensure;
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};

use crate::house::{SHELLS, house};

#[test]
fn streams_stand_in_the_merged_openapi() {
    promise(|| {
        let house = house()?;
        until("kube-apiserver has merged the documents", LATER, || {
            let merged = house.control_plane.api().document("/openapi/v2")?;
            let path = SHELLS.replace("default", "{namespace}");
            let log = &merged["paths"][format!("{path}/{{name}}/log")]["get"];
            ensure!(log["operationId"] == "connectShellExampleComV1GetNamespacedShellLog", "{log}");
            ensure!(log["x-kubernetes-action"] == "connect", "{log}");
            ensure!(
                merged["paths"][&path]["post"].is_null(),
                "what is not served is not published"
            );
            Ok(())
        })
    });
}
