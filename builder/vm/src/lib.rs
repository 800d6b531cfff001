//! `vm`: drives a machine (QEMU) or a container (systemd-nspawn) that boots what the builder made.
//!
//! Both come from a tree of Debian packages and run in the sandbox of `tools`, so the host needs neither,
//! and both die with the process that started them. [`guest`] is the layer above: a host made of an output
//! directory, what it says on its console, and clients beside it. Nothing here knows scenarios or claims.

pub mod accelerator;
pub mod arguments;
pub mod container;
pub mod credential;
pub mod guest;
pub mod loop_device;
pub mod machine;
pub mod netns;
pub mod qmp;
pub mod replay;
pub mod root_image;
pub mod serial;
pub mod spec;

mod cgroup;

pub use accelerator::Accelerator;
pub use container::{Container, ContainerError, ContainerSpec, MachineId};
pub use credential::Credential;
pub use loop_device::LoopDevice;
pub use machine::{Machine, MachineError};
pub use netns::NetworkNamespace;
pub use qmp::{Qmp, QmpError};
pub use root_image::RootImage;
pub use serial::{SerialError, SerialLog};
pub use spec::{Disk, Firmware, Forward, Interface, MachineSpec, Network, Outbound, Persistence};
