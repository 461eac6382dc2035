use super::{Passage, Relay};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CUT: Passage = Passage { forth: false, back: false };

/// A relay to a listener.
async fn relay() -> (Relay, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::bind().await.unwrap();
    relay.set_target(Some(listener.local_addr().unwrap()));
    (relay, listener)
}

/// Both ends of a connection through a relay, on which a byte has passed each way.
async fn connected(relay: &Relay, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let mut server = listener.accept().await.unwrap().0;
    pass(&mut client, &mut server).await;
    pass(&mut server, &mut client).await;
    (client, server)
}

async fn pass(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"x").await.unwrap();
    assert_eq!(to.read_u8().await.unwrap(), b'x');
}

async fn until_stuck(relay: &Relay, count: usize) {
    relay.stuck().wait_for(|stuck| *stuck == count).await.unwrap();
}

fn is_silent(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0]).await.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_cut_link_drops_in_silence_and_is_reset_when_it_heals() {
    let (relay, listener) = relay().await;
    let (mut client, mut server) = connected(&relay, &listener).await;
    relay.set_passage(CUT);
    client.write_all(b"lost").await.unwrap();
    until_stuck(&relay, 1).await;
    assert!(is_silent(&client) && is_silent(&server));
    relay.set_passage(Passage::OPEN);
    assert!(is_reset(&mut client).await && is_reset(&mut server).await);
    connected(&relay, &listener).await;
}

#[tokio::test]
async fn a_new_connection_over_a_cut_link_is_neither_refused_nor_carried() {
    for passage in [CUT, Passage { forth: true, back: false }, Passage { forth: false, back: true }] {
        let (relay, listener) = relay().await;
        relay.set_passage(passage);
        let mut client = TcpStream::connect(relay.address()).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        until_stuck(&relay, 1).await;
        assert!(is_silent(&client));
        relay.set_passage(Passage::OPEN);
        assert!(is_reset(&mut client).await);
        // The listener never saw it: the next connection is its first.
        connected(&relay, &listener).await;
    }
}

#[tokio::test]
async fn a_link_cut_one_way_carries_the_other_way() {
    let (relay, listener) = relay().await;
    let (mut client, mut server) = connected(&relay, &listener).await;
    relay.set_passage(Passage { forth: false, back: true });
    client.write_all(b"lost").await.unwrap();
    until_stuck(&relay, 1).await;
    pass(&mut server, &mut client).await;
    assert!(is_silent(&server));

    // Cut in the other direction now: nothing is carried any more, and the connection stays.
    relay.set_passage(Passage { forth: true, back: false });
    server.write_all(b"lost").await.unwrap();
    until_stuck(&relay, 2).await;
    assert!(is_silent(&client) && is_silent(&server));
    relay.set_passage(Passage::OPEN);
    assert!(is_reset(&mut client).await && is_reset(&mut server).await);
}

#[tokio::test]
async fn a_connection_that_was_silent_during_a_cut_goes_on() {
    let (relay, listener) = relay().await;
    let (mut client, mut server) = connected(&relay, &listener).await;
    relay.set_passage(CUT);
    // Another connection shows that the cut is in effect.
    let _stuck = TcpStream::connect(relay.address()).await.unwrap();
    until_stuck(&relay, 1).await;
    relay.set_passage(Passage::OPEN);
    until_stuck(&relay, 0).await;
    pass(&mut client, &mut server).await;
    pass(&mut server, &mut client).await;
}

#[tokio::test]
async fn the_end_of_a_process_behind_a_cut_link_is_not_noticed() {
    let (relay, listener) = relay().await;
    let (mut client, server) = connected(&relay, &listener).await;
    relay.set_passage(CUT);
    drop(server);
    drop(listener);
    until_stuck(&relay, 1).await;
    assert!(is_silent(&client));
    // What the client sends is dropped as well.
    client.write_all(b"anyone?").await.unwrap();
    until_stuck(&relay, 2).await;
    assert!(is_silent(&client));
    relay.set_passage(Passage::OPEN);
    assert!(is_reset(&mut client).await);
}

#[tokio::test]
async fn half_open_connections_carry_the_other_half() {
    let (relay, listener) = relay().await;
    let (mut client, mut server) = connected(&relay, &listener).await;
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    pass(&mut server, &mut client).await;
    drop(server);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_port_that_nothing_listens_on_is_refused() {
    let (relay, listener) = relay().await;
    drop(listener);
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    assert!(is_reset(&mut client).await);
    relay.set_target(None);
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    assert!(is_reset(&mut client).await);
}
