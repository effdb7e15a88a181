//! A server is replaced while everybody asks: not one failed request that a well-behaved client would see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::http::{Client, runtime};
use outrigger_e2e::outrigger::hostile;
use outrigger_e2e::steady::Protocol;
use outrigger_e2e::wait::SOON;
use outrigger_e2e::{Outrigger, promise, until};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{WELL, available, house, items, lines, options};
use crate::load::Load;

const GROUP: &str = "calm-after-0.hostile.example.com";
const WOES: &str = "/apis/calm-after-0.hostile.example.com/v1/woes";

/// A Service as kube-proxy makes it: new connections go to the first endpoint that is ready, old ones stay where they are.
struct Service {
    address: SocketAddr,
    moved: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    fn start(first: SocketAddr, second: SocketAddr) -> Result<Self> {
        let listener = runtime().block_on(TcpListener::bind("127.96.0.30:0"))?;
        let (address, moved) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let away = moved.clone();
        let task = runtime().spawn(async move {
            // Aborted with this task: the set owns the connections.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let to = if away.load(Ordering::SeqCst) { second } else { first };
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, moved, task })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[test]
fn nobody_notices_that_a_server_is_replaced() {
    promise(|| {
        let house = house()?;
        let names = ["metrics-server.kube-system.svc", "calm.kube-system.svc"];
        let pair = house.control_plane.ca().server("calm", &names)?;
        let start = |name: &str, address| -> Result<Outrigger> {
            let mut options = options(name, address, WELL);
            options.plugins = vec![hostile("calm-after-0")?];
            options.arguments.push("--shutdown-delay-duration=2s".to_owned());
            let server = Outrigger::start_under(&house.control_plane, &house.kubeconfig, &options, &pair)?;
            server.ready()?;
            Ok(server)
        };
        let (first, second) = (start("calm-1", [127, 96, 0, 31])?, start("calm-2", [127, 96, 0, 32])?);
        let service = Service::start(first.address(), second.address())?;
        first.register_at(&house.control_plane, "calm", service.address, GROUP, &["v1"])?;
        let ca = house.control_plane.ca().certificate();
        let direct = Client::new(service.address, names[1], &ca, Some(house.control_plane.admin()))?;
        until("it is served through the aggregator", SOON, || {
            ensure!(available(&house.control_plane, |group| group == GROUP)? == 1);
            ensure!(items(&house.control_plane.api().document(WOES)?).len() == 2);
            ensure!(items(&second.client(Some(house.control_plane.admin()))?.document(WOES)?).len() == 2);
            Ok(())
        })?;

        let mut load = Load::new();
        let aggregator = house.control_plane.api();
        for (way, client, protocol, fresh) in [
            ("HTTP/1.1", &direct, Protocol::H1, false),
            ("HTTP/1.1 beside it", &direct, Protocol::H1, false),
            ("HTTP/2", &direct, Protocol::H2, false),
            ("HTTP/2 beside it", &direct, Protocol::H2, false),
            ("a connection for each request", &direct, Protocol::H1, true),
            ("an HTTP/2 connection for each request", &direct, Protocol::H2, true),
            ("the aggregator, HTTP/1.1", aggregator, Protocol::H1, false),
            ("the aggregator, HTTP/2", aggregator, Protocol::H2, false),
        ] {
            load.add(way, client.clone(), protocol, WOES, fresh);
        }
        until("the load runs", SOON, || {
            ensure!(load.answers() > 200 || load.failed());
            Ok(())
        })?;
        first.program().terminate()?;
        let probe = first.client(None)?;
        // What the kubelet and kube-proxy do: a red probe takes the endpoint away.
        until("its probe is red while it serves on", SOON, || {
            let answer = probe.get("/readyz")?;
            ensure!(
                answer.status == 500 && answer.text().contains("[-]shutdown failed"),
                "{}",
                answer.text()
            );
            Ok(())
        })?;
        service.moved.store(true, Ordering::SeqCst);
        let status = until("the first server ends", SOON, || {
            first.program().ended()?.context("still runs")
        })?;
        let before = load.answers();
        until("the second serves all of them", SOON, || {
            ensure!(load.answers() > before + 200 || load.failed());
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(300));
        for one in load.end()? {
            eprintln!(
                "drain: {}: {} answers over {} connections",
                one.way, one.answers, one.connections
            );
            ensure!(one.answers > 0, "{}", one.way);
        }
        ensure!(status.success(), "{status}");
        let log = first.program().log();
        ensure!(lines(&log, &["draining"]) == 1 && lines(&log, &["drained"]) == 1, "{log}");
        ensure!(available(&house.control_plane, |group| group == GROUP)? == 1);
        house.kubectl.run(&format!("delete apiservice v1.{GROUP}"))?;
        Ok(())
    });
}
