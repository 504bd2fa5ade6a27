//! A configuration file of the command line program, in a program with the library.

use backwire::Server;
use backwire::settings::Store;

use super::{build, get, serve};

pub(super) fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, text).unwrap();
    file
}

fn problem(text: &str) -> (String, &'static str) {
    let file = file(text);
    let error = Server::builder().config_file(&file).err().expect("the file is invalid");
    let text = error.to_string();
    (text.strip_prefix(&file.path().display().to_string()).unwrap().to_owned(), error.code())
}

#[tokio::test]
async fn file_is_applied_and_later_calls_override_it() {
    let file =
        file("prefix: /live\nengine: redis://nowhere\nundeclared: refuse\nresources: {todo: {}}\n");
    let server = Server::builder().config_file(&file).unwrap().store(Store::Memory);
    let (router, handle) = build(server).await;
    let addr = serve(router).await;
    assert_eq!(get(addr, "/live/todo").await, (200, "[]".to_owned()));
    assert_eq!(get(addr, "/live/cart").await.0, 404);
    handle.shutdown().await;
}

#[test]
fn unknown_key_is_an_error_with_its_place_and_the_closest_key() {
    let (text, code) = problem("port: 80\nsesion_age: 1d\n");
    assert_eq!(text, ":2:1: unknown key sesion_age; did you mean session_age?");
    assert_eq!(code, "E_FILE");
    let (text, _) = problem("port: 80\nresources: {todo: {plurl: todos}}\n");
    assert!(text.contains("did you mean plural?"), "{text}");
}

#[test]
fn invalid_value_and_missing_file_are_errors() {
    assert!(problem("port: 70000\n").0.contains("70000"));
    let missing = Server::builder().config_file("/no/such/file.yml").err().unwrap();
    assert_eq!(missing.code(), "E_FILE");
    assert!(missing.to_string().starts_with("/no/such/file.yml: "), "{missing}");
}
