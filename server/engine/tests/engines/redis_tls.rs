//! Connections to Redis with TLS, with users, and by sentinels.

use std::path::{Path, PathBuf};

use backwire_engine::{Redis, RedisOptions, Window};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::polling::{poll, poll_blocking};
use crate::redis::TIMEOUT;
use crate::redis_server::{RedisServer, free_port};
use crate::store::{milk, redis_with, todo};

/// The files of an authority, and of a certificate that it has issued for this machine.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn create() -> Self {
        let certificates = Self { folder: tempfile::tempdir().unwrap() };
        certificates.renew();
        certificates
    }

    /// Replaces all files.
    fn renew(&self) {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "authority of a test");
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().unwrap();
        let issued = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let write = |name: &str, pem: String| std::fs::write(self.file(name), pem).unwrap();
        write("ca.pem", ca.pem());
        write("cert.pem", issued.pem());
        write("key.pem", key.serialize_pem());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the options of a server with this port for TLS.
    fn options(&self, tls_port: u16, asks_client: &str) -> Vec<String> {
        let file = |name: &str| self.file(name).to_str().unwrap().to_owned();
        let options = [
            ("--tls-port", tls_port.to_string()),
            ("--tls-ca-cert-file", file("ca.pem")),
            ("--tls-cert-file", file("cert.pem")),
            ("--tls-key-file", file("key.pem")),
            ("--tls-auth-clients", asks_client.to_owned()),
            ("--save", String::new()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    fn start(&self, asks_client: &str, more: &[&str]) -> (RedisServer, u16) {
        let port = free_port();
        let options = self.options(port, asks_client);
        let options: Vec<_> =
            options.iter().map(String::as_str).chain(more.iter().copied()).collect();
        (RedisServer::start(&options), port)
    }
}

async fn refusal(url: String) -> String {
    let (tail, _changes) = mpsc::channel(1);
    let opened = Redis::open(RedisOptions::new(url), Window::default(), tail).await;
    opened.unwrap_err().to_string()
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn store_is_reached_by_tls_with_the_certificate_of_an_authority() {
    let certificates = Certificates::create();
    let (_server, port) = certificates.start("no", &[]);
    let ca = certificates.file("ca.pem");
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("rediss://{host}:{port}?ca={}", shown(&ca));
        let store = redis_with(RedisOptions::new(url), Window::default(), 1024);
        store.apply(milk()).await;
    }
    // The machine does not know the authority.
    let refused = refusal(format!("rediss://127.0.0.1:{port}")).await;
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    let other = Certificates::create();
    let refused =
        refusal(format!("rediss://127.0.0.1:{port}?ca={}", shown(&other.file("ca.pem")))).await;
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_shows_its_certificate_if_it_has_one() {
    let certificates = Certificates::create();
    let (_server, port) = certificates.start("yes", &[]);
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| certificates.file(name));
    let url = format!("rediss://127.0.0.1:{port}?ca={}", shown(&ca));
    refusal(url.clone()).await;
    let url = format!("{url}&cert={}&key={}", shown(&cert), shown(&key));
    redis_with(RedisOptions::new(url), Window::default(), 1024).apply(milk()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_are_used_without_a_restart() {
    let certificates = Certificates::create();
    let (mut server, port) = certificates.start("yes", &["--appendonly", "yes"]);
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| certificates.file(name));
    let url = format!("rediss://127.0.0.1:{port}?ca={}", shown(&ca));
    let url = format!("{url}&cert={}&key={}", shown(&cert), shown(&key));
    let store = redis_with(RedisOptions::new(url), Window::default(), 1024);
    store.apply(milk()).await;
    certificates.renew();
    server.restart();
    poll("the store is reached with the new certificates", TIMEOUT, async || {
        store.engine.head(&todo()).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_needs_no_rights_beyond_the_documented_ones() {
    let server = RedisServer::start(&["--save", ""]);
    let rights = ["on", ">p@ss", "~backwire:*", "+@all", "-@admin", "-@dangerous", "+info"];
    let command = [&["ACL", "SETUSER", "backwire"][..], &rights].concat();
    assert_eq!(server.command(&command), "+OK\r\n");
    let url = format!("redis://backwire:p%40ss@127.0.0.1:{}", server.port);
    let store = redis_with(RedisOptions::new(url), Window::default(), 1024);
    store.apply(milk()).await;
    store.engine.announce("hello").await.unwrap();
    let refused = refusal(format!("redis://backwire:wrong@127.0.0.1:{}", server.port)).await;
    assert!(refused.contains("Redis: ") && !refused.contains("wrong@"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_cluster_are_reached_by_tls() {
    let certificates = Certificates::create();
    let mut nodes = Vec::new();
    for slots in [["0", "8191"], ["8192", "16383"]] {
        let bus = free_port().to_string();
        let options = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", &bus];
        let options = [&options[..], &["--cluster-require-full-coverage", "no"]].concat();
        let (node, port) = certificates.start("no", &options);
        node.command(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
        nodes.push((node, port, bus));
    }
    let (_, port, bus) = &nodes[1];
    nodes[0].0.command(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), bus]);
    let is_ready = |node: &RedisServer| {
        let info = node.command(&["CLUSTER", "INFO"]);
        info.contains("cluster_slots_assigned:16384") && info.contains("cluster_state:ok")
    };
    let are_ready = || nodes.iter().all(|(node, ..)| is_ready(node)).then_some(());
    poll_blocking("the nodes are a cluster", TIMEOUT, are_ready);
    for (_, port, _) in &nodes {
        let url = format!("rediss://127.0.0.1:{port}?ca={}", shown(&certificates.file("ca.pem")));
        redis_with(RedisOptions::new(url), Window::default(), 1024).apply(milk()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn master_is_found_by_sentinels_with_tls_and_passwords() {
    let certificates = Certificates::create();
    let (_server, port) = certificates.start("no", &["--requirepass", "a@b"]);
    let ca = certificates.file("ca.pem");
    let sentinel_port = free_port();
    let file = |name: &str| certificates.file(name).to_str().unwrap().to_owned();
    let lines = [
        "tls-replication yes".to_owned(),
        format!("tls-port {sentinel_port}"),
        format!("tls-ca-cert-file {}", file("ca.pem")),
        format!("tls-cert-file {}", file("cert.pem")),
        format!("tls-key-file {}", file("key.pem")),
        "tls-auth-clients no".to_owned(),
        "requirepass c&d".to_owned(),
        format!("sentinel monitor main 127.0.0.1 {port} 1"),
        "sentinel auth-pass main a@b".to_owned(),
    ];
    let _sentinel = RedisServer::start_sentinel(&lines.join("\n"));
    // The first sentinel is away.
    let url = format!(
        "rediss+sentinel://:a%40b@127.0.0.1:1,127.0.0.1:{sentinel_port}/main?sentinel_password=c%26d&ca={}",
        shown(&ca)
    );
    redis_with(RedisOptions::new(url.clone()), Window::default(), 1024).apply(milk()).await;
    let refused = refusal(url.replace("/main", "/other")).await;
    assert!(refused.contains("the sentinels know no master that answers"), "{refused}");
}
