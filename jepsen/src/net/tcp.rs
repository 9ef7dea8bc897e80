//! TCP as far as a router has to know it: which connection a packet belongs to, and how its ends are told that it is
//! over. What a reset has to look like to be believed is in RFC 9293, 3.5.2 and 3.10.7, and RFC 5961, 3.

use std::net::Ipv4Addr;

/// Bytes of an IPv4 header, and of a TCP header, without options.
const HEADER: usize = 20;
const PROTOCOL: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const FRAGMENT: u16 = 0x3fff;
const DONT_FRAGMENT: u16 = 0x4000;
const TIME_TO_LIVE: u8 = 64;

/// An IPv4 packet with nothing but a TCP header.
pub(super) type Reset = [u8; 2 * HEADER];

/// A host's end of a connection.
type End = (Ipv4Addr, u16);

/// What a packet says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    from: End,
    to: End,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    /// Bytes of data.
    pub data: u32,
}

impl Segment {
    /// None if the packet is no whole TCP segment over IPv4.
    pub(super) fn of(packet: &[u8]) -> Option<Segment> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let whole = packet[0] >> 4 == 4 && header >= HEADER && packet.len() >= header + HEADER;
        if !whole || packet[9] != PROTOCOL || number(packet, 6) & FRAGMENT != 0 {
            return None;
        }
        let tcp = &packet[header..];
        let behind = header + usize::from(tcp[12] >> 4) * 4;
        let length = usize::from(number(packet, 2));
        let data = length.checked_sub(behind).filter(|_| length <= packet.len())?;
        let address = |at: usize| Ipv4Addr::from(wide(packet, at));
        Some(Segment {
            from: (address(12), number(tcp, 0)),
            to: (address(16), number(tcp, 2)),
            sequence: wide(tcp, 4),
            acknowledged: wide(tcp, 8),
            flags: tcp[13],
            data: data as u32,
        })
    }

    /// Ports of the sender and of the receiver: which connection it is, between two hosts.
    pub(super) fn ports(&self) -> (u16, u16) {
        (self.from.1, self.to.1)
    }

    /// Whether it begins a connection, or accepts one.
    pub(super) fn begins(&self) -> bool {
        self.flags & SYN != 0
    }

    pub(super) fn is_reset(&self) -> bool {
        self.flags & RST != 0
    }

    /// Tells its sender that the receiver knows no such connection.
    pub(super) fn reset_sender(&self) -> Reset {
        if self.flags & ACK != 0 {
            // What the sender has said it expects next, so it cannot but believe it.
            return reset(self.to, self.from, self.acknowledged, None);
        }
        let taken = self.data + u32::from(self.begins()) + u32::from(self.flags & FIN != 0);
        reset(self.to, self.from, 0, Some(self.sequence.wrapping_add(taken)))
    }

    /// Tells its receiver, in its stead, that the sender knows no such connection any more.
    pub(super) fn reset_receiver(&self) -> Reset {
        let acknowledged = (self.flags & ACK != 0).then_some(self.acknowledged);
        reset(self.from, self.to, self.sequence, acknowledged)
    }
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn wide(bytes: &[u8], at: usize) -> u32 {
    u32::from(number(bytes, at)) << 16 | u32::from(number(bytes, at + 2))
}

fn reset(from: End, to: End, sequence: u32, acknowledged: Option<u32>) -> Reset {
    let mut packet = [0; 2 * HEADER];
    let mut put = |at: usize, bytes: &[u8]| packet[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0x45]);
    put(2, &(2 * HEADER as u16).to_be_bytes());
    put(6, &DONT_FRAGMENT.to_be_bytes());
    put(8, &[TIME_TO_LIVE, PROTOCOL]);
    put(12, &from.0.octets());
    put(16, &to.0.octets());
    put(20, &from.1.to_be_bytes());
    put(22, &to.1.to_be_bytes());
    put(24, &sequence.to_be_bytes());
    put(28, &acknowledged.unwrap_or(0).to_be_bytes());
    // The header is five words long.
    put(32, &[5 << 4, if acknowledged.is_some() { RST | ACK } else { RST }]);
    let ip = checksum(&[&packet[..HEADER]]);
    packet[10..12].copy_from_slice(&ip.to_be_bytes());
    let tcp = tcp_checksum(&packet);
    packet[36..38].copy_from_slice(&tcp.to_be_bytes());
    packet
}

/// Over the addresses, the protocol and the length as well, as TCP wants it.
fn tcp_checksum(packet: &[u8]) -> u16 {
    let length = (packet.len() - HEADER) as u16;
    let pseudo = [0, PROTOCOL, length.to_be_bytes()[0], length.to_be_bytes()[1]];
    checksum(&[&packet[12..20], &pseudo, &packet[HEADER..]])
}

/// The Internet checksum (RFC 1071) of parts of even length. It is 0 over what holds its own right checksum.
fn checksum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = pairs.map(|pair| u32::from(number(pair, 0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ONE: End = (Ipv4Addr::new(10, 77, 0, 1), 40_000);
    const TWO: End = (Ipv4Addr::new(10, 77, 0, 2), 9092);

    /// A segment from one to two; its checksums are wrong.
    pub(in crate::net) fn segment(flags: u8, data: usize) -> Vec<u8> {
        let mut packet = reset(ONE, TWO, 1_000, Some(2_000)).to_vec();
        packet.extend(vec![7; data]);
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[33] = flags;
        packet
    }

    pub(in crate::net) const DATA: u8 = ACK;
    pub(in crate::net) const OPEN: u8 = SYN;
    pub(in crate::net) const END: u8 = RST;

    fn right(packet: &Reset) -> Segment {
        assert_eq!((checksum(&[&packet[..HEADER]]), tcp_checksum(packet)), (0, 0));
        Segment::of(packet).unwrap()
    }

    #[test]
    fn a_segment_is_read_and_nothing_else_is_one() {
        let read = Segment::of(&segment(ACK, 5)).unwrap();
        assert_eq!((read.from, read.to, read.data), (ONE, TWO, 5));
        assert_eq!((read.sequence, read.acknowledged), (1_000, 2_000));
        assert!(!read.begins() && !read.is_reset());
        for (at, byte) in [(0, 0x65), (0, 0x44), (6, 0x20), (7, 1), (9, 17), (2, 0xff), (32, 0xf0)]
        {
            let mut other = segment(ACK, 5);
            other[at] = byte;
            assert_eq!(Segment::of(&other), None, "byte {at}");
        }
        assert_eq!(Segment::of(&segment(ACK, 0)[..39]), None);
        assert_eq!(Segment::of(&[]), None);
    }

    #[test]
    fn a_sender_is_answered_with_what_it_expects_next() {
        let answer = right(&Segment::of(&segment(ACK, 5)).unwrap().reset_sender());
        assert_eq!((answer.from, answer.to), (TWO, ONE));
        assert_eq!((answer.sequence, answer.flags), (2_000, RST));
    }

    #[test]
    fn who_opens_a_connection_is_refused_with_an_acknowledgement_of_that() {
        let answer = right(&Segment::of(&segment(SYN, 0)).unwrap().reset_sender());
        assert_eq!((answer.from, answer.to), (TWO, ONE));
        assert_eq!((answer.sequence, answer.acknowledged, answer.flags), (0, 1_001, RST | ACK));
    }

    #[test]
    fn a_receiver_gets_the_reset_in_the_place_of_the_data() {
        let answer = right(&Segment::of(&segment(ACK, 5)).unwrap().reset_receiver());
        assert_eq!((answer.from, answer.to), (ONE, TWO));
        assert_eq!((answer.sequence, answer.acknowledged, answer.flags), (1_000, 2_000, RST | ACK));
    }
}
