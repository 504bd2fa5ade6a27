//! Files with secrets in the folder of pages.

use std::path::Path;

use super::{Process, backwire};

/// The content of each secret file. It is long enough for a session secret.
const SECRET: &str = "a-secret-of-this-server-that-nobody-else-knows";

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Starts a server whose folder of pages contains all its secret files. Returns it with its url.
fn serve(folder: &Path) -> (Process, String) {
    let site = |name: &str, file: &str| {
        format!(
            "{name}:\n  authUrl: http://127.0.0.1:1/\n  apiKey: {{file: {}}}\n",
            folder.join(file).display()
        )
    };
    for file in ["session.key", "site.key", "late.key", "publish.key", "other.txt"] {
        write(folder, file, SECRET);
    }
    write(folder, "app.yml", &format!("# {SECRET}\nsession_secret: {{file: publish.key}}\n"));
    write(folder, "shops.yml", &format!("# {SECRET}\n{}", site("shop", "site.key")));
    let mut command = backwire("serve", &folder.join("app.yml"), &folder.join("shops.yml"));
    command.current_dir(folder).args(["--static", ".", "--session-secret-file", "session.key"]);
    let mut process = Process::spawn(&mut command, "memory");
    let port = process.first_line().trim().rsplit(':').next().unwrap().to_owned();
    write(folder, "shops.yml", &format!("# {SECRET}\n{}", site("late", "late.key")));
    (process, format!("http://127.0.0.1:{port}"))
}

#[tokio::test]
async fn secret_files_are_not_served() {
    let home = tempfile::tempdir().unwrap();
    let (mut process, url) = serve(home.path());
    let served = async |file: &str| {
        let answer = reqwest::get(format!("{url}/{file}")).await.unwrap();
        answer.text().await.unwrap().contains(SECRET)
    };
    // No setting has named this file yet.
    assert!(served("other.txt").await && served("late.key").await);
    for file in ["session.key", "site.key", "publish.key", "app.yml", "shops.yml"] {
        assert!(!served(file).await, "{file}");
    }
    process.signal("-HUP");
    process.logged("sites are read again");
    assert!(!served("late.key").await);
    // A replaced file is secret too, and so is another name of the file.
    std::fs::remove_file(home.path().join("session.key")).unwrap();
    write(home.path(), "session.key", SECRET);
    std::fs::hard_link(home.path().join("session.key"), home.path().join("page.html")).unwrap();
    std::os::unix::fs::symlink("session.key", home.path().join("link.html")).unwrap();
    for file in ["session.key", "page.html", "link.html", "session%2ekey"] {
        assert!(!served(file).await, "{file}");
    }
}
