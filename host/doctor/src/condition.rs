//! What the doctor alone can find; what `serve` meets as well stands in [`outrigger_cluster::advice`].

outrigger_cluster::sentences! {
    /// One finding that is not fine.
    pub enum Condition {
        // --- looking -------------------------------------------------------------------------------
        /// The caller lacks a right.
        Skip NotPermitted { what } = "not-permitted",
            "you may not {what}, so this was not looked at",
            "look again as an administrator";
        /// A question had no useful answer.
        Skip NotAnswered { what, why } = "not-answered",
            "{what} was not answered: {why}",
            "look again, with a longer --timeout if the cluster is slow";
        /// Not a finding of its own.
        Skip Follows { from } = "follows",
            "not judged: it follows from {from}", "";
        /// There is nothing to look at.
        Skip NotApplicable { why } = "not-applicable", "{why}", "";

        // --- kube-apiserver ------------------------------------------------------------------------
        /// No connection, or no answer.
        Fail ServerUnreachable { server, why } = "server-unreachable",
            "kube-apiserver at {server} does not answer: {why}",
            "check the network and the kubeconfig's server: kubectl get --raw /version";
        /// Before aggregated discovery v2.
        Warn ServerOld { version } = "server-old",
            "kube-apiserver {version} is older than 1.30, whose aggregated discovery is the one spoken here",
            "upgrade it; until then its clients ask group by group";
        /// Later than anything that this build was tested with.
        Warn ServerNew { version, known } = "server-new",
            "kube-apiserver {version} is newer than what this build knows ({known})",
            "upgrade Outrigger";
        /// Certificates and tokens are judged by clocks.
        Warn ClockSkew { whose, seconds, way } = "clock-skew",
            "the clock of {whose} is {seconds} s {way} this machine's",
            "set the clocks by NTP: certificates and tokens are judged by them";

        // --- the aggregator's identity -------------------------------------------------------------
        /// Only when the certificate was given to look at.
        Fail ProxyNameRefused { name, allowed } = "proxy-name-refused",
            "the front proxy's certificate is for {name}, and requestheader-allowed-names has only {allowed}",
            "add {name} to kube-apiserver's --requestheader-allowed-names";
        /// Only when the certificate was given to look at.
        Fail ProxyUntrusted { why } = "proxy-untrusted",
            "the front proxy's certificate does not lead to requestheader-client-ca-file ({why})",
            "give kube-apiserver a --proxy-client-cert-file that its --requestheader-client-ca-file signs";

        // --- the host's own identity ---------------------------------------------------------------
        /// The host cannot run as it.
        Fail AccountMissing { namespace, name } = "account-missing",
            "there is no service account {namespace}/{name}",
            "kubectl create serviceaccount {name} -n {namespace}, or name the host's with --service-account";

        // --- an APIService -------------------------------------------------------------------------
        /// Nobody asks the host.
        Fail ApiServiceMissing { name } = "apiservice-missing",
            "there is no APIService {name}",
            "apply one (docs/in-a-cluster.md, step 4)";
        /// kube-apiserver answers it alone.
        Fail ApiServiceLocal { name } = "apiservice-local",
            "APIService {name} names no Service, so nobody asks the host",
            "set spec.service: kubectl edit apiservice {name}";
        /// Out of the range that kube-apiserver takes.
        Fail PriorityInvalid { name, field, value, range } = "priority-invalid",
            "{field} of APIService {name} is {value}, which is not within {range}",
            "set it: kubectl edit apiservice {name}";
        /// The host could be anybody.
        Warn VerificationSkipped { name } = "verification-skipped",
            "APIService {name} has insecureSkipTLSVerify, so whoever stands between kube-apiserver and the host can answer in its place",
            "set caBundle to the host's CA and insecureSkipTLSVerify to false: kubectl edit apiservice {name}";
        /// The system's roots decide.
        Warn BundleMissing { name } = "bundle-missing",
            "APIService {name} has no caBundle, so the host's certificate is verified with the roots of kube-apiserver's system",
            "set caBundle to the host's CA (ca.crt in its --cert-dir): kubectl edit apiservice {name}";
        /// No PEM, or no certificate in it.
        Fail BundleUnreadable { name, why } = "bundle-unreadable",
            "caBundle of APIService {name} cannot be read: {why}",
            "set it to the host's CA, base64 -w0 < ca.crt: kubectl edit apiservice {name}";
        /// Another owner of the same group.
        Warn GroupShared { name, crd } = "group-shared",
            "APIService {name} has the group of CustomResourceDefinition {crd}: in the version that it names, the custom resource is not served",
            "give one of them another group";
        /// The Service is not there.
        Fail ServiceMissing { name, service } = "service-missing",
            "APIService {name} names Service {service}, and there is none",
            "create it, or name the right one: kubectl edit apiservice {name}";
        /// The Service has other ports.
        Fail ServicePortMissing { name, service, port, ports } = "service-port-missing",
            "APIService {name} names port {port} of Service {service}, which has {ports}",
            "set spec.service.port: kubectl edit apiservice {name}";
        /// Nobody is behind the Service.
        Fail EndpointsMissing { service, namespace } = "endpoints-missing",
            "nothing behind Service {service} is ready",
            "see why: kubectl get pods,endpointslices -n {namespace}";
        /// Certificate of another authority.
        Fail BundleWrong { name } = "bundle-wrong",
            "caBundle of APIService {name} does not sign the certificate that the host shows",
            "set it to the host's CA (ca.crt in its --cert-dir), base64 -w0 < ca.crt: kubectl edit apiservice {name}";
        /// Certificate for other names.
        Fail CertificateName { wanted, names } = "certificate-name",
            "the host's certificate is not for {wanted}, which kube-apiserver asks for{names}",
            "add {wanted} to the host's --cert-names, or to the certificate of --tls-cert-file";
        /// Certificate out of its time.
        Fail CertificateExpired { when } = "certificate-expired",
            "the host's certificate has expired{when}",
            "renew the file of --tls-cert-file (the host reads it again by itself), or delete apiserver.crt from --cert-dir and restart the host";
        /// Certificate before its time.
        Fail CertificateNotYet { when } = "certificate-not-yet",
            "the host's certificate is not valid before {when}",
            "set the clocks right";
        /// Certificate soon out of its time.
        Warn CertificateExpiring { when } = "certificate-expiring",
            "the host's certificate expires on {when}",
            "renew the file of --tls-cert-file";
        /// What it shows is no certificate that can be judged.
        Fail CertificateUnreadable { why } = "certificate-unreadable",
            "the host's certificate cannot be used: {why}",
            "give the host another --tls-cert-file, or none";
        /// Nobody at home, or no way there.
        Fail HostUnreachable { name, namespace, why } = "host-unreachable",
            "kube-apiserver cannot reach the host of APIService {name}: {why}",
            "see that the host runs and listens on the Service's target port, and that no firewall or NetworkPolicy is between: \
             kubectl get pods,endpointslices -n {namespace}";
        /// The host says 401.
        Fail HostDisbelieves { name } = "host-disbelieves",
            "the host of APIService {name} does not believe kube-apiserver's aggregator (401)",
            "see that the host can read ConfigMap kube-system/extension-apiserver-authentication and that its --requestheader flags, if \
             it has any, agree with it; its log says which";
        /// The host says 404.
        Fail VersionNotServed { name, version } = "version-not-served",
            "the host does not serve {version} (404)",
            "put a plugin that serves it into --plugins (outrigger inspect FILE says what one serves), or kubectl delete apiservice {name}";
        /// The host says something else.
        Fail HostAnswers { name, status, said } = "host-answers",
            "the host of APIService {name} answered {status}{said}",
            "the host's log says why";
        /// The aggregator has not looked yet.
        Warn AvailabilityUnknown { name } = "availability-unknown",
            "kube-apiserver has not said yet whether APIService {name} is available",
            "look again in a minute";
        /// In words that are not known here.
        Fail Unavailable { name, reason, message } = "unavailable",
            "APIService {name} is not available ({reason}): {message}",
            "kubectl describe apiservice {name}";

        // --- the API from outside ------------------------------------------------------------------
        /// Every client that asks for all groups is told that one failed.
        Fail DiscoveryStale { version } = "discovery-stale",
            "kube-apiserver's discovery has {version} as Stale: it could not read the host's within five seconds",
            "see that the host answers GET /apis; it is asked again every minute";
        /// kubectl does not know it yet.
        Warn DiscoveryMissing { version } = "discovery-missing",
            "kube-apiserver's discovery does not list {version}",
            "look again in a minute: that is how often the host is asked";
        /// explain and validation do not know it.
        Warn OpenApiMissing { document, version } = "openapi-missing",
            "{document} does not have {version}, so kubectl explain and server-side apply do not know it",
            "look again in a minute; if it stays, restart kube-apiserver, which may have given up on the host's document";
        /// A resource that cannot be listed.
        Fail ListFails { resource, status, said } = "list-fails",
            "a list of {resource} is answered with {status}{said}",
            "the host's log says why; for a plugin that traps, outrigger_plugin_loads_total and its collector's ticks on /metrics";
        /// Namespaces would stay for ever.
        Fail DeletesUnlisted { resource } = "deletes-unlisted",
            "{resource} offers delete but not list and get, so deleting a namespace can neither empty nor pass it",
            "take delete out of the plugin's verbs, or add the others";

        // --- the host itself -----------------------------------------------------------------------
        /// Not from here.
        Skip HostNotReached { tried, namespace, service, port } = "host-not-reached",
            "the host cannot be reached from this machine ({tried}), so its health and certificate were not looked at",
            "kubectl port-forward -n {namespace} service/{service} 8443:{port}, then --server https://127.0.0.1:8443";
        /// The address that was given.
        Fail GivenHostUnreachable { server, why } = "given-host-unreachable",
            "nobody answers at {server}: {why}",
            "check --server and the port-forward";
        /// One of its checks is red.
        Fail CheckFails { probe, check } = "check-fails",
            "the host's {probe} fails: {check}",
            "the host's log has the reason, as has its {probe} path of that single check";

        // --- kubelets ------------------------------------------------------------------------------
        /// A node that is not Ready is asked all the same.
        Warn NodeNotReady { node } = "node-not-ready",
            "node {node} is not Ready, so its metrics may be missing",
            "kubectl describe node {node}";
        /// Nobody at home, or no way there.
        Fail KubeletUnreachable { node, why } = "kubelet-unreachable",
            "the kubelet of {node} cannot be reached by kube-apiserver: {why}",
            "see that it runs and that no firewall is between: kubectl describe node {node}";
        /// Something else than a summary.
        Fail KubeletAnswers { node, status, said } = "kubelet-answers",
            "the kubelet of {node} answers /stats/summary with {status}{said}",
            "the kubelet's log on that node says why";
        /// kube-apiserver's own rights towards kubelets; the host has others.
        Skip KubeletRefusesServer { node, status } = "kubelet-refuses-server",
            "the kubelet of {node} refuses kube-apiserver itself ({status}), so it could not be asked this way",
            "kube-apiserver's --kubelet-client-certificate decides that; the host shows its own token";
        /// It dials no loopback and no link-local address.
        Skip KubeletNotProxied { node, why } = "kubelet-not-proxied",
            "kube-apiserver does not proxy to the kubelet of {node}{why}",
            "ask the kubelet itself; the host does not go through kube-apiserver";
        /// SAN.
        Fail KubeletCertificateName { node, wanted, names } = "kubelet-certificate-name",
            "the certificate of the kubelet of {node} is not for {wanted}{names}",
            "set serverTLSBootstrap in the kubelet's configuration and approve its certificate request (kubectl get csr; kubectl certificate \
             approve NAME), or put a type whose address the certificate names first in --kubelet-preferred-address-types, or, if it names \
             the node itself, give the host --kubelet-verify-by-node-name";
        /// Signer.
        Fail KubeletCertificateUntrusted { node } = "kubelet-certificate-untrusted",
            "the certificate of the kubelet of {node} is not signed by the cluster's CA",
            "give the host --kubelet-certificate-authority with the CA of the kubelets' certificates; or set serverTLSBootstrap in the \
             kubelet's configuration and approve its certificate request (kubectl get csr; kubectl certificate approve NAME)";
        /// Time.
        Fail KubeletCertificateTime { node, when } = "kubelet-certificate-time",
            "the certificate of the kubelet of {node} is out of its time{when}",
            "set serverTLSBootstrap and rotateCertificates in the kubelet's configuration, or renew it by hand; and set the clocks right";
        /// A bound of ours.
        Skip NodesLeftOut { asked } = "nodes-left-out",
            "only the first {asked} nodes were looked at",
            "--max-nodes";

        // --- namespaces ----------------------------------------------------------------------------
        /// Whoever's APIService it is.
        Fail NamespaceStuck { namespace, apiservices, why } = "namespace-stuck",
            "namespace {namespace} stays Terminating because {apiservices} cannot be discovered: {why}",
            "mend that APIService, or if nobody needs it any more: kubectl delete apiservice NAME";
    }
}
