//! A TUN device: what a host's kernel sends can be read here, and what is written here arrives there.

use std::fs::File;
use std::io;

use anyhow::Context;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// The kernel's `struct ifreq`, as far as this request uses it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const SET_INTERFACE: Opcode = opcode::write::<i32>(b'T', 202); // TUNSETIFF
const TUN_WITHOUT_HEADER: u16 = 0x0001 | 0x1000; // IFF_TUN | IFF_NO_PI
/// The device's name in its network namespace.
pub(crate) const NAME: &str = "tun0";

/// The harness's end of the device.
pub(crate) struct Tun {
    file: File,
}

impl Tun {
    /// Makes the device in the network namespace of the calling thread. It lives as long as this.
    pub(crate) fn create() -> anyhow::Result<Tun> {
        let path = "/dev/net/tun";
        let file = File::options().read(true).write(true).open(path);
        let file = file.with_context(|| format!("open {path}: the kernel needs CONFIG_TUN"))?;
        let mut request = Request { name: [0; 16], flags: TUN_WITHOUT_HEADER, rest: [0; 22] };
        request.name[..NAME.len()].copy_from_slice(NAME.as_bytes());
        #[expect(unsafe_code, reason = "TUNSETIFF takes a struct ifreq, which Request is")]
        unsafe {
            ioctl(&file, Setter::<SET_INTERFACE, Request>::new(request)).context("TUNSETIFF")?;
        }
        let flags = rustix::fs::fcntl_getfl(&file)? | rustix::fs::OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&file, flags)?;
        Ok(Tun { file })
    }

    /// The next packet the host sent; None if there is none now.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.file, buffer) {
            Ok(len) => Ok(Some(len)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the host a packet; false if it did not take it.
    pub(crate) fn deliver(&self, packet: &[u8]) -> bool {
        rustix::io::write(&self.file, packet).is_ok()
    }
}

impl std::os::fd::AsFd for Tun {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}
