use super::*;

fn kind_of(method: Method, uri: &str) -> Option<RequestKind> {
    let mut request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
    if let Some(engine) = EngineRequest::read(request.uri()).unwrap() {
        request.extensions_mut().insert(engine);
    }
    kind(&request)
}

/// socketioxide copies a chunk once for each packet that begins in it.
#[tokio::test]
async fn each_packet_of_a_payload_is_a_chunk_of_its_own() {
    let packets = ["4:421[", "7:4😀€xyz", "2:4a"];
    for rest in ["", "no packet", "19:4too short"] {
        let payload = packets.concat() + rest;
        let mut body = packet_stream(payload.clone().into());
        let mut chunks = Vec::new();
        while let Some(frame) = body.frame().await {
            chunks.push(frame.unwrap().into_data().unwrap());
        }
        let expected = packets.into_iter().chain([rest]).filter(|chunk| !chunk.is_empty());
        assert_eq!(chunks, expected.map(str::as_bytes).collect::<Vec<_>>());
    }
}

#[test]
fn requests_that_may_be_rewritten_have_a_kind_and_others_have_none() {
    let session = Sid::new();
    let polls = &*format!("/socket.io/?EIO=3&transport=polling&sid={session}");
    let polls_4 = &*format!("/socket.io/?EIO=4&transport=polling&sid={session}");
    let opens = "/socket.io/?token=x&EIO=3&transport=websocket";
    assert_eq!(kind_of(Method::POST, polls), Some(RequestKind::PostV3));
    assert_eq!(kind_of(Method::GET, opens), Some(RequestKind::WebSocket));
    assert_eq!(kind_of(Method::GET, polls), Some(RequestKind::PollV3));
    let begins = "/socket.io/?EIO=3&transport=polling&b64=1";
    assert_eq!(kind_of(Method::GET, begins), Some(RequestKind::HandshakeV3));
    assert_eq!(kind_of(Method::GET, polls_4), None);
    assert_eq!(kind_of(Method::POST, polls_4), Some(RequestKind::PostV4));
    let upgrades = &*format!("/socket.io/?EIO=4&transport=websocket&sid={session}");
    assert_eq!(kind_of(Method::GET, upgrades), Some(RequestKind::WebSocket));
    let polls = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(kind_of(Method::GET, polls), Some(RequestKind::HandshakeV4));
    let opens = "/socket.io/?EIO=4&transport=websocket";
    assert_eq!(kind_of(Method::GET, opens), Some(RequestKind::WebSocket));
    assert_eq!(kind_of(Method::POST, polls), None);
    assert_eq!(kind_of(Method::GET, "/todo?EIO=3&transport=websocket"), None);
    assert_eq!(kind_of(Method::GET, "/socket.io/socket.io.js"), None);
}

#[tokio::test]
async fn body_of_the_maximum_size_is_read() {
    assert_eq!(read_body(Body::from("12345"), 5).await.unwrap(), "12345");
}

#[tokio::test]
async fn body_that_is_too_large_is_returned_unchanged() {
    let parts = ["123", "456", "789"].map(Ok::<_, axum::Error>);
    let body = read_body(Body::from_stream(stream::iter(parts)), 5).await.unwrap_err();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "123456789");
}

#[tokio::test]
async fn body_that_breaks_off_is_returned_with_its_error() {
    let parts = [Ok("123"), Err(axum::Error::new("gone"))];
    let mut body = read_body(Body::from_stream(stream::iter(parts)), 5).await.unwrap_err();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "123");
    assert!(body.frame().await.unwrap().is_err());
}
