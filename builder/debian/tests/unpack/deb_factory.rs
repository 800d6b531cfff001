//! Makes package files for tests, good ones and bad ones, byte by byte.

use std::path::Path;

use debian::rootfs::UnpackInput;
use formats::digest::Sha256Digest;

/// A tar archive under construction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// A header whose fields can be made wrong.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) flag: u8,
    pub(crate) size: Vec<u8>,
    pub(crate) link: String,
    pub(crate) mode: u32,
}

impl Header {
    pub(crate) fn new(name: &str, flag: u8, size: usize) -> Self {
        let mode = if flag == b'5' { 0o755 } else { 0o644 };
        Self { name: name.into(), flag, size: format!("{size:011o}\0").into(), link: String::new(), mode }
    }

    pub(crate) fn link(mut self, link: &str) -> Self {
        self.link = link.into();
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn size(mut self, size: &[u8]) -> Self {
        self.size = size.to_vec();
        self
    }

    pub(crate) fn block(&self) -> [u8; 512] {
        let mut block = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, self.name.as_bytes());
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, &self.size);
        put(136, b"14000000000\0");
        put(156, &[self.flag]);
        put(157, self.link.as_bytes());
        put(257, b"ustar  \0");
        put(148, b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

impl Tar {
    pub(crate) fn entry(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.extend_from_slice(&header.block());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(&Header::new(name, b'5', 0), b"")
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(&Header::new(name, b'0', content.len()), content.as_bytes())
    }

    pub(crate) fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(&Header::new(name, b'2', 0).link(to), b"")
    }

    pub(crate) fn hard_link(self, name: &str, to: &str) -> Self {
        self.entry(&Header::new(name, b'1', 0).link(to), b"")
    }

    /// An extension (`L`, `K`, `x`, `g`) for the next entry.
    pub(crate) fn extension(self, flag: u8, body: &[u8]) -> Self {
        self.entry(&Header::new("././@LongLink", flag, body.len()), body)
    }

    /// A GNU long name for the next entry.
    pub(crate) fn gnu_name(self, name: &[u8]) -> Self {
        self.extension(b'L', name)
    }

    /// A PAX record for the next entry.
    pub(crate) fn pax(self, key: &str, value: &str) -> Self {
        self.extension(b'x', &pax(key, value))
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// One PAX record with its length in front.
pub(crate) fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        bytes.extend_from_slice(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").as_bytes());
        bytes.extend_from_slice(content);
        if size % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

pub(crate) fn control_text(name: &str, fields: &str) -> String {
    format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n{fields}Description: test\n")
}

/// A whole package; `members` are control members besides `control`.
pub(crate) fn deb(name: &str, fields: &str, members: &[(&str, &str)], data: &[u8]) -> Vec<u8> {
    let mut control = Tar::default().dir("./").file("./control", &control_text(name, fields));
    for (member, text) in members {
        control = control.entry(&Header::new(&format!("./{member}"), b'0', text.len()).mode(0o755), text.as_bytes());
    }
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control.end()), ("data.tar", data)])
}

/// Writes the bytes beside the tree and says what the lock would say.
pub(crate) fn input(directory: &Path, name: &str, bytes: &[u8]) -> UnpackInput {
    let path = directory.join(format!("{name}.deb"));
    std::fs::write(&path, bytes).unwrap();
    UnpackInput { name: name.into(), path, sha256: Sha256Digest::of(bytes), size: bytes.len() as u64 }
}
