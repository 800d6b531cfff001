//! Writing a finished disk image to a device: what is refused, how it is written, how it is proven.

mod device;
mod write;

pub use device::{DeviceFacts, Refusal, SMALLEST_DISK, inspect_device, refusals};
pub(crate) use write::fill;
pub use write::{BlockTarget, Written, write_and_compare};
