//! The Debian 13 trees that the builder brings along: one to build with, one to run machines and tests with, one to compare with, one to attack with.
//!
//! They are unpacked and never configured, so they hold only programs that work without their maintainer scripts.

use anyhow::Result;
use debian::resolve::Base;
use debian::wish::Wish;

use crate::packages::parse_names;

/// Which tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolsKind {
    /// What the stages of a build use.
    Build,
    /// QEMU, firmware and containers, for `run`, `test` and the test suite.
    Run,
    /// Debian's own builders, for the test and the benchmark that compare ours with them. No build uses it.
    Compare,
    /// What attackers use, for scenarios that let it loose on hosts of their own. No build uses it.
    Attack,
}

impl ToolsKind {
    /// Name of the tree in the cache and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "tools",
            Self::Run => "run-tools",
            Self::Compare => "compare-tools",
            Self::Attack => "attack-tools",
        }
    }

    /// What the tree asks the archive for.
    pub(crate) fn wish(self) -> Result<Wish> {
        Ok(Wish::new(parse_names(self.packages())?, Base::Empty, Vec::new()))
    }

    /// The packages asked for; their dependencies come along.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Build => &[
                "base-files",
                "libc-bin",
                // mkfs.erofs, and fsck.erofs for the read-back
                "erofs-utils",
                // the EFI system partition
                "dosfstools",
                "mtools",
                // Secure Boot keys and signatures
                "openssl",
                "efitools",
                "sbsigntool",
                // a clock that stands still, for programs that write the time into what they make
                "libfaketime",
                // systemd-boot and the stub that becomes the UKI
                "systemd-boot-efi",
                // mkfs.btrfs is in the image; veritysetup only checks our hash tree
                "cryptsetup-bin",
                "fdisk",
                // configures the packages of a root
                "dpkg",
                // puts the roots of jailed services together
                "jailkit",
                // compiles the firewall; its shell scripts take these for granted
                "shorewall",
                "shorewall6",
                "dash",
                "coreutils",
                "grep",
                "sed",
                // what apt would choose, for the test that compares our resolver with it
                "apt",
            ],
            Self::Run => &[
                "base-files",
                "libc-bin",
                "qemu-system-x86",
                "qemu-utils",
                "ovmf",
                "swtpm",
                "iproute2",
                "systemd-container",
                // edits the firmware's key store for the Secure Boot scenarios
                "python3-virt-firmware",
                // clients, as people use them
                "openssh-client",
                "curl",
                "openssl",
                // where a file lies in the image, for the scenarios that damage it
                "erofs-utils",
                "util-linux",
                // account names for ssh
                "base-passwd",
                // an ordinary user's ids, for the test that builds as one
                "uidmap",
            ],
            Self::Compare => COMPARE,
            Self::Attack => ATTACK,
        }
    }
}

/// What attackers and auditors use; testssl is a shell script, and takes its small tools for granted.
const ATTACK: &[&str] = &[
    "base-files",
    "base-passwd",
    "libc-bin",
    "bash",
    "dash",
    "coreutils",
    "findutils",
    "grep",
    "sed",
    "python3",
    "sqlmap",
    "nmap",
    "testssl.sh",
    "pebble",
];

/// What stands on a Debian machine on which somebody makes images. The tree is never configured, so the shells and small tools that
/// packages take for granted are named.
const COMPARE: &[&str] = &[
    "base-files",
    "base-passwd",
    "libc-bin",
    "bash",
    "dash",
    "coreutils",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "sed",
    "tar",
    "mawk",
    "hostname",
    "login",
    "passwd",
    "mount",
    "util-linux",
    "xz-utils",
    "zstd",
    // a root
    "mmdebstrap",
    "apt",
    "dpkg",
    // a whole image
    "mkosi",
    "systemd",
    "systemd-repart",
    "systemd-ukify",
    "systemd-boot-efi",
    "erofs-utils",
    // a hash tree
    "cryptsetup-bin",
    // an initrd
    "dracut",
];
