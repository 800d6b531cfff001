//! Versions that are signed and whole, and do not work: the small image with one file more, or with another root.

/// What is wrong with a version, and what the old one says of it.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) what: &'static str,
    pub(super) version: &'static str,
    pub(super) defect: Defect,
    /// How often it is started before the old version runs again.
    pub(super) starts: u8,
    /// What `casemate-agent why` says.
    pub(super) because: &'static str,
}

/// How it came about.
#[derive(Debug)]
pub(crate) enum Defect {
    /// A unit to which a drop-in is added.
    Unit { name: &'static str, drop_in: &'static str },
    /// A root with nothing in it, under a hash tree that is right.
    EmptyRoot,
}

pub(super) const GATE_FAILS: Bad = Bad {
    what: "the health gate fails",
    version: "0.4.1",
    defect: Defect::Unit {
        name: "casemate-health.service",
        drop_in: "[Service]\nExecStart=\nExecStart=/usr/bin/false\n",
    },
    starts: 1,
    because: "did not become healthy",
};

/// Takes all room of the state partition with a file that nobody sees, until the machine restarts.
const FILLS: &str = r"[Service]
ExecStartPre=/usr/bin/systemd-run --unit=fills /bin/sh -c 'exec 3<>/var/lib/fills; rm /var/lib/fills; for size in 256M 16M 1M 4K; do while fallocate -o $(stat -L -c %%s /proc/self/fd/3) -l $size /proc/self/fd/3; do :; done; done; touch /run/filled; exec sleep infinity'
ExecStartPre=/bin/sh -c 'until test -e /run/filled; do sleep 1; done'
";

/// Those of the full run. A unit as early as `systemd-tmpfiles-setup` is there before state has anything to say.
pub(super) const BAD: &[Bad] = &[
    Bad {
        what: "the clock is wrong",
        version: "0.4.9",
        // systemd-timesyncd sets it forward to when it ran last, as it starts.
        defect: Defect::Unit {
            name: "casemate-health.service",
            drop_in: "[Unit]\nAfter=systemd-timesyncd.service\n[Service]\nExecStartPre=/usr/bin/date --set 2001-01-01\n",
        },
        starts: 1,
        because: "before this version was built",
    },
    Bad {
        what: "init dies",
        version: "0.4.3",
        defect: Defect::Unit {
            name: "systemd-tmpfiles-setup.service",
            drop_in: "[Service]\nExecStartPre=/bin/kill -SEGV 1\n",
        },
        starts: 3,
        because: "as far as the state partition",
    },
    Bad {
        what: "the agent crashes",
        version: "0.4.4",
        defect: Defect::Unit {
            name: "casemate-personalise.service",
            drop_in: "[Service]\nExecStart=\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n",
        },
        starts: 3,
        because: "ended without a word",
    },
    Bad {
        what: "a service fails",
        version: "0.4.5",
        defect: Defect::Unit { name: "ssh.service", drop_in: "[Service]\nExecStartPre=/usr/bin/false\n" },
        starts: 1,
        because: "ssh",
    },
    Bad {
        what: "the health gate hangs",
        version: "0.4.6",
        defect: Defect::Unit {
            name: "casemate-health.service",
            drop_in: "[Service]\nExecStart=\nExecStart=/usr/bin/sleep infinity\n",
        },
        starts: 1,
        because: "did not become healthy",
    },
    Bad {
        what: "the kernel panics",
        version: "0.4.2",
        defect: Defect::Unit {
            name: "systemd-tmpfiles-setup.service",
            drop_in: "[Service]\nExecStartPre=/bin/sh -c 'echo c > /proc/sysrq-trigger'\n",
        },
        starts: 3,
        because: "as far as the state partition",
    },
    Bad {
        what: "the root is empty",
        version: "0.4.7",
        defect: Defect::EmptyRoot,
        starts: 3,
        because: "as far as the state partition",
    },
    Bad {
        what: "the state partition is full",
        version: "0.4.8",
        defect: Defect::Unit { name: "casemate-health.service", drop_in: FILLS },
        starts: 1,
        because: "MiB more cannot be written",
    },
];
