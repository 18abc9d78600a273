//! Keeps the idle processors of a virtual machine from halting while messages come one upon the other.
//!
//! Who asks a mount waits, and its processor has nothing to do and halts. To end that in a virtual machine takes an interrupt that the host must deliver: some tens of
//! microseconds, more than most answers cost. While somebody asks for no latency at all (`/dev/cpu_dma_latency`, see `Documentation/power/pm_qos_interface.rst` of the kernel; root may),
//! idle processors look for work instead.
//!
//! Owns that one request. Its invariant: it is made in virtual machines only, since others wake within a microsecond or two and polling costs them power, and it ends
//! with the burst, or the process.

use std::fs::{File, OpenOptions};
use std::io::Write;

/// Where the kernel says how processors idle.
const IDLE_DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";

/// The driver whose only sleep is a halt that the host must end.
const GUEST: &str = "haltpoll";

const LATENCY: &str = "/dev/cpu_dma_latency";

/// A request that no processor halts, as long as this lives.
#[derive(Debug)]
pub(crate) struct NoHalt {
    _request: File,
}

impl NoHalt {
    /// Whether a request is of use on this machine.
    pub(crate) fn is_of_use() -> bool {
        std::fs::read_to_string(IDLE_DRIVER).is_ok_and(|driver| driver.trim_end() == GUEST)
    }

    /// Makes the request; none where it may not be made.
    pub(crate) fn ask() -> Option<Self> {
        let mut request = OpenOptions::new().write(true).open(LATENCY).ok()?;
        request.write_all(&0_i32.to_ne_bytes()).ok()?;
        Some(Self { _request: request })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What the kernel grants now, in microseconds.
    fn latency() -> i32 {
        let mut bytes = [0; 4];
        File::open(LATENCY).unwrap().read_exact(&mut bytes).unwrap();
        i32::from_ne_bytes(bytes)
    }

    #[test]
    fn a_request_holds_as_long_as_it_lives() {
        let Some(request) = NoHalt::ask() else {
            eprintln!("!!! NOT TRIED: {LATENCY} cannot be written here");
            return;
        };
        assert_eq!(latency(), 0);
        drop(request);
        // Somebody else may ask for the same meanwhile, but not for ever.
        let released = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            latency() != 0
        });
        assert!(released, "still {} µs", latency());
    }
}
