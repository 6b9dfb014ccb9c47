//! `upload`: a file comes as it was, with progress, in memory that does not grow with it.
#![cfg(unix)]

use std::fs;
use std::path::PathBuf;

use crate::house::{Program, run};

const SIZE: usize = 48 << 20;

/// A folder of this test alone, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("framewire-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The most memory that a process has had, where the system tells.
fn peak(id: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
}

#[test]
fn a_file_comes_as_it_was_in_little_memory() {
    let (there, here) = (Folder::new("upload-to"), Folder::new("upload-from"));
    let server = Program::start_with("upload", &[there.0.to_str().unwrap()]);
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    fs::write(here.0.join("film"), &bytes).unwrap();

    let sent = run("upload", &[&server.url, &here.file("film")]);
    let said = String::from_utf8(sent.stdout).unwrap();
    assert!(sent.status.success(), "{said} {}", String::from_utf8_lossy(&sent.stderr));
    assert_eq!(said.lines().last(), Some(&*format!("sent film, {SIZE} bytes")));
    assert!(said.lines().count() > 40, "{said}");
    assert!(fs::read(there.0.join("film")).unwrap() == bytes);
    if let Some(peak) = peak(server.id()) {
        assert!(peak < SIZE / 2, "{peak} bytes");
    }

    // What is there stays, and names lead nowhere else.
    let again = run("upload", &[&server.url, &here.file("film")]);
    assert!(!again.status.success());
    fs::write(here.0.join("empty"), b"").unwrap();
    let sent = run("upload", &[&server.url, &here.file("empty")]);
    assert!(sent.status.success() && fs::read(there.0.join("empty")).unwrap().is_empty());
}
