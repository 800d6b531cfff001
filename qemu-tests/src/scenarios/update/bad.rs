//! Versions that are signed and whole, and do not work: the small image with one file more.

/// What is wrong with a version, and what the old one says of it.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) what: &'static str,
    pub(super) version: &'static str,
    /// A unit to which a drop-in is added.
    pub(super) unit: &'static str,
    pub(super) drop_in: &'static str,
    /// How often it is started before the old version runs again.
    pub(super) starts: u8,
    /// What `casemate-agent why` says.
    pub(super) because: &'static str,
}

pub(super) const GATE_FAILS: Bad = Bad {
    what: "the health gate fails",
    version: "0.4.1",
    unit: "casemate-health.service",
    drop_in: "[Service]\nExecStart=\nExecStart=/usr/bin/false\n",
    starts: 1,
    because: "did not become healthy",
};

/// Those of the full run. A unit as early as `systemd-tmpfiles-setup` is there before state has anything to say.
pub(super) const BAD: &[Bad] = &[
    Bad {
        what: "the kernel panics",
        version: "0.4.2",
        unit: "systemd-tmpfiles-setup.service",
        drop_in: "[Service]\nExecStartPre=/bin/sh -c 'echo c > /proc/sysrq-trigger'\n",
        starts: 3,
        because: "as far as the state partition",
    },
    Bad {
        what: "init dies",
        version: "0.4.3",
        unit: "systemd-tmpfiles-setup.service",
        drop_in: "[Service]\nExecStartPre=/bin/kill -SEGV 1\n",
        starts: 3,
        because: "as far as the state partition",
    },
    Bad {
        what: "the agent crashes",
        version: "0.4.4",
        unit: "casemate-personalise.service",
        drop_in: "[Service]\nExecStart=\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n",
        starts: 3,
        because: "ended without a word",
    },
    Bad {
        what: "a service fails",
        version: "0.4.5",
        unit: "ssh.service",
        drop_in: "[Service]\nExecStartPre=/usr/bin/false\n",
        starts: 1,
        because: "ssh",
    },
    Bad {
        what: "the health gate hangs",
        version: "0.4.6",
        unit: "casemate-health.service",
        drop_in: "[Service]\nExecStart=\nExecStart=/usr/bin/sleep infinity\n",
        starts: 1,
        because: "did not become healthy",
    },
];
