//! WebSockets through the real binary: they pass, they outlive what they must, and end with what they began
//! with.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::person::Person;

type Socket = WebSocketStream<TlsStream<tokio::net::TcpStream>>;

/// An application that sends every message back.
async fn echo() -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = accept_async(stream).await.expect("a WebSocket");
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, serving)
}

fn gate_before(address: std::net::SocketAddr) -> Gate {
    Gate::start_from_file(&format!(
        r#"
        [accounts]
        registration = "open"
        [upstreams.app]
        servers = ["{address}"]
        [[routes]]
        path = "/auth"
        api = true
        auth = "optional"
        [[routes]]
        path = "/"
        upstream = "app"
        "#
    ))
}

async fn open(client: &Client, person: &Person) -> Socket {
    let mut request = "wss://localhost/ws".into_client_request().expect("a request");
    let bearer = format!("Bearer {}", person.access).parse().expect("a header");
    request.headers_mut().insert("authorization", bearer);
    let stream = client.stream().await.expect("the gate accepts");
    client_async(request, stream).await.expect("101").0
}

async fn is_alive(socket: &mut Socket, text: &str) -> bool {
    let sent = socket.send(Message::text(text)).await;
    sent.is_ok() && matches!(socket.next().await, Some(Ok(back)) if back == Message::text(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_with_its_session_and_with_no_other() {
    let (address, serving) = echo().await;
    let gate = gate_before(address);
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let bob = Person::join(&client, "bob@example.com").await;
    let (mut adas, mut bobs) = (open(&client, &ada).await, open(&client, &bob).await);
    assert!(is_alive(&mut adas, "ada").await && is_alive(&mut bobs, "bob").await);
    client.request("POST", "/auth/v1/logout").bearer(&ada.access).send().await.expect(204);
    assert!(!matches!(adas.next().await, Some(Ok(_))), "cut");
    assert!(is_alive(&mut bobs, "still there").await);
    gate.cli(&["user", "disable", &bob.email]).expect(0);
    assert!(!matches!(bobs.next().await, Some(Ok(_))), "cut");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_lives_on_through_a_reload_and_while_the_gate_finishes() {
    let (address, serving) = echo().await;
    let mut gate = gate_before(address);
    let client = gate.client();
    let ada = Person::join(&client, "ada@example.com").await;
    let mut socket = open(&client, &ada).await;
    gate.cli_json(&["reload"]);
    assert!(is_alive(&mut socket, "after a reload").await);
    gate.terminate();
    // Once nobody is let in any more it has begun.
    while client.stream().await.is_ok() {}
    assert!(is_alive(&mut socket, "still there").await);
    socket.close(None).await.expect("closed");
    while socket.next().await.is_some() {}
    drop(socket);
    assert!(gate.wait().success());
    let end = gate.log().lines().find(|line| line.contains("bytes_from_client"));
    let end = end.unwrap_or_else(|| panic!("no line about the tunnel's end in {}", gate.log()));
    assert!(end.contains("finished") && end.contains(&ada.id), "{end}");
    serving.abort();
}
