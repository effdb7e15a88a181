//! connect through the aggregator: a log that is followed, an exec over a WebSocket.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt};
use outrigger_e2e::http::{Client, runtime};
use outrigger_e2e::promise;
use outrigger_e2e::wait::{SOON, until};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::house::{SHELLS, house};

#[test]
fn a_log_is_read_whole_and_followed() {
    promise(|| {
        let house = house()?;
        let whole = house.kubectl.run(&format!("get --raw {SHELLS}/abacus/log?tailLines=2"))?;
        ensure!(whole == "+ 1\n+ 2\n", "{whole}");
        let path = format!("{SHELLS}/abacus/log?tailLines=1&follow=true");
        let mut command = house.kubectl.command(&["get", "--raw", &path]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let out = BufReader::new(child.stdout.take().context("no stdout")?);
        let lines: Vec<String> = out.lines().take(5).collect::<Result<_, _>>()?;
        ensure!(lines[4] == "+ 5", "{lines:?}");
        child.kill()?;
        child.wait()?;
        let refused = house
            .kubectl
            .run(&format!("get --raw {SHELLS}/crow/log"))
            .unwrap_err()
            .to_string();
        ensure!(refused.contains("NotFound"), "{refused}");
        // The guest ends with its reader.
        until("nobody is being answered", SOON, || {
            let metrics = house
                .outrigger
                .client(Some(house.control_plane.admin()))?
                .get("/metrics")?
                .ok()?
                .text();
            let running = metrics
                .lines()
                .filter(|l| l.starts_with("apiserver_longrunning_requests{") && l.contains("subresource=\"log\""))
                .all(|l| l.ends_with(" 0"));
            ensure!(running, "a log is still followed");
            Ok(())
        })
    });
}

#[test]
fn exec_speaks_v5_over_a_websocket() {
    promise(|| {
        let house = house()?;
        let api = house.control_plane.api().clone();
        runtime().block_on(async move {
            let heard = tokio::time::timeout(Duration::from_secs(60), async {
                let mut sum = exec(&api, "command=sum&command=20&command=22").await?;
                let answer = sum.next().await.context("no answer")??;
                ensure!(answer.into_data() == b"\x0142\n".as_slice());
                let status = sum.next().await.context("no status")??.into_data();
                ensure!(
                    status.starts_with(b"\x03") && String::from_utf8_lossy(&status).contains("Success"),
                    "{status:?}"
                );
                ensure!(matches!(sum.next().await, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 1000));

                let mut cat = exec(&api, "command=cat").await?;
                for n in 0..50 {
                    cat.send(Message::binary(format!("\0line {n}"))).await?;
                }
                for n in 0..50 {
                    let echo = cat.next().await.context("no echo")??.into_data();
                    ensure!(echo == format!("\u{1}line {n}").as_bytes(), "{echo:?}");
                }
                cat.send(Message::Ping("are you there".into())).await?;
                let pong = cat.next().await.context("no pong")??;
                ensure!(pong == Message::Pong("are you there".into()), "{pong:?}");
                // Standard input is closed, and nothing else.
                cat.send(Message::binary(vec![255, 0])).await?;
                let status = cat.next().await.context("no status")??.into_data();
                ensure!(status.starts_with(b"\x03{"), "{status:?}");

                let mut fly = exec(&api, "command=fly").await?;
                let told = fly.next().await.context("no word")??.into_data();
                ensure!(told == b"\x02fly: command not found\n".as_slice(), "{told:?}");
                Ok(())
            });
            heard.await.context("no answer in a minute")?
        })
    });
}

#[test]
fn an_exec_without_a_protocol_that_it_speaks_is_refused() {
    promise(|| {
        let house = house()?;
        let api = house.control_plane.api();
        let plain = api.get(&format!("{SHELLS}/abacus/exec?command=cat"))?;
        ensure!(plain.status == 400, "{}", plain.text());
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("sec-websocket-protocol", "v1.channel.k8s.io"),
        ];
        let refused = api.get_with(&format!("{SHELLS}/abacus/exec?command=cat"), &headers)?;
        ensure!(
            refused.status == 400 && refused.text().contains("v5.channel.k8s.io"),
            "{} {}",
            refused.status,
            refused.text()
        );
        Ok(())
    });
}

async fn exec(api: &Client, query: &str) -> Result<WebSocketStream<impl AsyncRead + AsyncWrite + Unpin + use<>>> {
    let stream = api.dial(b"http/1.1").await?;
    let request = http::Request::get(format!("wss://{}{SHELLS}/abacus/exec?{query}", api.host()))
        .header("host", api.host())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .header("sec-websocket-protocol", "v5.channel.k8s.io")
        .body(())?;
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
    ensure!(response.headers()["sec-websocket-protocol"] == "v5.channel.k8s.io");
    Ok(socket)
}
