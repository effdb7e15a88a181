//! The Secret: made by one, used by all, and left alone where it is somebody else's.

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use outrigger_e2e::control_plane::repository;
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{Outrigger, promise, until};
use serde_json::json;

use crate::house::{House, SECRET, Service, strangers, unverified};

#[test]
fn two_replicas_serve_under_one_authority() {
    promise(|| {
        let house = House::new("trust")?;
        // At once, so that they race for the Secret.
        let one = house.replica("trust-1", [127, 96, 0, 61], SECRET, &["--ca-removal-delay=5s"])?;
        let two = house.replica("trust-2", [127, 96, 0, 62], SECRET, &["--ca-removal-delay=5s"])?;
        let service = Service::start([127, 96, 0, 63], [one.address(), two.address()])?;
        // Neither says whom to believe, as metrics-server's own manifest has it.
        house.register(service.address, &["v1"], &json!({}))?;
        house.register(service.address, &["v1beta1"], &unverified())?;
        for replica in [&one, &two] {
            house.ready(replica, SECRET)?;
        }
        house.serves()?;
        let made = |replica: &Outrigger| replica.program().log().contains("made a certificate authority in Secret");
        ensure!(made(&one) != made(&two), "one of them made it");
        let secret = house
            .control_plane
            .api()
            .document(&format!("/api/v1/namespaces/kube-system/secrets/{SECRET}"))?;
        ensure!(secret["type"] == "kubernetes.io/tls", "{}", secret["type"]);
        ensure!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "outrigger");
        let authority = house.key(SECRET, "ca.crt")?;
        ensure!(authority == house.key(SECRET, "tls.crt")?, "alone in its bundle");
        until("both versions believe it, and verify", SOON, || {
            for version in ["v1", "v1beta1"] {
                ensure!(house.bundle(version)? == authority, "{version}");
                let spec = &house.apiservice(version)?["spec"];
                ensure!(spec["insecureSkipTLSVerify"].as_bool() != Some(true), "{spec}");
            }
            Ok(())
        })?;
        house
            .kubectl
            .run("wait --for=condition=Available apiservice/v1.metrics.k8s.io apiservice/v1beta1.metrics.k8s.io --timeout=60s")?;

        // What cert-manager's injector keeps is its own business. That v1 is mended shows that somebody has looked.
        let foreign = strangers(&house)?;
        let bundle = json!({"spec": {"caBundle": BASE64_STANDARD.encode(&foreign)}});
        let mut injected = bundle.clone();
        injected["metadata"] = json!({"annotations": {"cert-manager.io/inject-ca-from": "kube-system/metrics-server"}});
        house.patch("v1beta1", &injected)?;
        house.patch("v1", &bundle)?;
        until("v1 is mended, and the stranger goes after a while", LATER, || {
            ensure!(house.bundle("v1")? == authority);
            Ok(())
        })?;
        ensure!(house.bundle("v1beta1")? == foreign, "it was touched");
        house
            .kubectl
            .run("annotate apiservice v1beta1.metrics.k8s.io cert-manager.io/inject-ca-from-")?;
        until("v1beta1 is mended too", LATER, || {
            ensure!(house.bundle("v1beta1")? == authority);
            Ok(())
        })?;

        // Another Service is another's.
        house.patch(
            "v1beta1",
            &json!({"spec": {"service": {"name": "other"}, "caBundle": BASE64_STANDARD.encode(&foreign)}}),
        )?;
        house.patch("v1", &bundle)?;
        until("v1 is mended again", LATER, || {
            ensure!(house.bundle("v1")? == authority);
            Ok(())
        })?;
        ensure!(house.bundle("v1beta1")? == foreign, "it was touched");
        house.patch("v1beta1", &json!({"spec": {"service": {"name": "metrics-server"}}}))?;
        house.serves()
    });
}

/// The kubectl commands of the last line of a log with these words, carried out.
fn heed(house: &House, log: &str, words: &str) -> Result<()> {
    let line = log
        .lines()
        .rfind(|line| line.contains(words))
        .context("the log does not say so")?;
    let commands = &line[line.find("kubectl create").context("no cure")?..];
    for command in commands.split(';').next().unwrap_or_default().split(" && ") {
        let command = command.trim().trim_start_matches("kubectl ");
        house.kubectl.run(command).with_context(|| line.to_owned())?;
    }
    Ok(())
}

#[test]
fn what_is_missing_is_said_and_what_is_foreign_is_respected() {
    promise(|| {
        let house = House::new("trust-foreign")?;
        house.take_rights()?;
        let secret = "made-elsewhere";
        let server = house.replica("trust-3", [127, 96, 0, 64], secret, &[])?;
        house.register(server.address(), &["v1", "v1beta1"], &json!({}))?;
        let says = |words: &str| {
            until(words, LATER, || {
                server.program().runs()?;
                ensure!(server.program().log().contains(words), "{}", server.program().log());
                Ok(())
            })
        };
        let denied = "may not get,update Secret kube-system/made-elsewhere";
        says(denied)?;
        heed(&house, &server.program().log(), denied)?;
        let denied = "may not create Secrets in kube-system";
        says(denied)?;
        // Nonsense is not ours to mend.
        house.kubectl.run(&format!(
            "create secret generic {secret} -n kube-system --from-literal=tls.crt=x --from-literal=tls.key=y"
        ))?;
        says("its tls.crt holds no readable certificate in PEM; it is somebody else's and left as it is")?;
        ensure!(house.key(secret, "tls.crt")? == "x");
        house.kubectl.run(&format!("delete secret {secret} -n kube-system"))?;

        // As cert-manager makes them: RSA in PKCS#1, without our label.
        let file = |name: &str| repository().join("host/server/testdata").join(name).display().to_string();
        let (certificate, key) = (file("ca-rsa.crt"), file("ca-rsa.key"));
        house.kubectl.run(&format!(
            "create secret generic {secret} -n kube-system --from-file=tls.crt={certificate} --from-file=tls.key={key} \
             --from-file=ca.crt={certificate}"
        ))?;
        until("it is used", LATER, || {
            std::fs::write(server.ca(), std::fs::read_to_string(&certificate)?)?;
            server.client(None)?.get("/livez")?.ok()
        })?;
        // Not published yet: for that the rights are missing still.
        let denied = "may not get,list,watch,patch apiservices.apiregistration.k8s.io";
        says(denied)?;
        ensure!(
            house.apiservice("v1")?["spec"]
                .get("caBundle")
                .is_none_or(|bundle| bundle == "")
        );
        heed(&house, &server.program().log(), denied)?;
        house.ready(&server, secret)?;
        house.serves()?;
        ensure!(
            house.key(secret, "tls.key")? == std::fs::read_to_string(&key)?,
            "left as it is"
        );
        drop(server);

        // Nobody has registered anything: asked to, it does.
        house
            .kubectl
            .run("delete apiservice v1.metrics.k8s.io v1beta1.metrics.k8s.io")?;
        house
            .kubectl
            .run("create clusterrole register --verb=create --resource=apiservices.apiregistration.k8s.io")?;
        house
            .kubectl
            .run("create clusterrolebinding register --clusterrole=register --serviceaccount=kube-system:metrics-server")?;
        let server = house.replica("trust-4", [127, 96, 0, 65], secret, &["--register-apiservices"])?;
        until("it is registered", LATER, || {
            server.program().runs()?;
            for version in ["v1", "v1beta1"] {
                ensure!(house.bundle(version)? == std::fs::read_to_string(&certificate)?, "{version}");
                let spec = &house.apiservice(version)?["spec"];
                let to = &spec["service"];
                ensure!(
                    to["name"] == "metrics-server" && to["namespace"] == "kube-system" && to["port"] == 443,
                    "{spec}"
                );
                ensure!(
                    spec["groupPriorityMinimum"] == 100 && spec["versionPriority"] == 100,
                    "{spec}"
                );
            }
            Ok(())
        })
    });
}
