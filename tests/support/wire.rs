//! A pen and an eye for raw Kafka frames, so that a test can say what no client would say and see
//! what a client would hide. Written by hand from the protocol's definition: a mistake of the broker's
//! codec cannot cancel itself out here.

mod compact;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Builds a body, field by field.
#[derive(Clone, Default)]
pub struct Encoder(pub Vec<u8>);

impl Encoder {
    pub fn i8(mut self, value: i8) -> Encoder {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i16(mut self, value: i16) -> Encoder {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i32(mut self, value: i32) -> Encoder {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i64(mut self, value: i64) -> Encoder {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn string(self, value: &str) -> Encoder {
        let mut encoder = self.i16(value.len() as i16);
        encoder.0.extend(value.as_bytes());
        encoder
    }

    pub fn null(self) -> Encoder {
        self.i16(-1)
    }

    pub fn bytes(self, value: &[u8]) -> Encoder {
        let mut encoder = self.i32(value.len() as i32);
        encoder.0.extend(value);
        encoder
    }
}

/// Reads a body, field by field; panics with what is missing.
pub struct Decoder {
    bytes: Vec<u8>,
    at: usize,
}

impl Decoder {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let part = self.bytes.get(self.at..self.at + N);
        let part = part.unwrap_or_else(|| panic!("ends at {}: {:x?}", self.at, self.bytes));
        self.at += N;
        part.try_into().unwrap()
    }

    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.take())
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    pub fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()).ok()?;
        self.at += length;
        Some(String::from_utf8(self.bytes[self.at - length..self.at].to_vec()).unwrap())
    }

    /// `None` for null, which is not the same as empty.
    pub fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.i32()).ok()?;
        self.at += length;
        Some(self.bytes[self.at - length..self.at].to_vec())
    }

    /// An array: its length, then each element by `element`.
    pub fn list<T>(&mut self, mut element: impl FnMut(&mut Decoder) -> T) -> Vec<T> {
        let count = self.i32();
        (0..count).map(|_| element(self)).collect()
    }

    /// The same; `None` for null.
    pub fn nullable<T>(&mut self, mut element: impl FnMut(&mut Decoder) -> T) -> Option<Vec<T>> {
        let count = usize::try_from(self.i32()).ok()?;
        Some((0..count).map(|_| element(self)).collect())
    }

    /// Fails if the answer has more bytes than its version's fields.
    pub fn end(self) {
        assert_eq!(self.at, self.bytes.len(), "bytes after the last field: {:x?}", self.bytes);
    }
}

/// One connection to a broker.
pub struct Wire {
    pub stream: TcpStream,
    correlation: i32,
}

impl Wire {
    pub fn connect(port: u16) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, correlation: 0 }
    }

    /// Sends a request with a version 1 header; gives its correlation id.
    pub fn send(&mut self, api: i16, version: i16, body: &Encoder) -> i32 {
        self.correlation += 1;
        let header = Encoder::default().i16(api).i16(version).i32(self.correlation).string("wire");
        let mut frame = ((header.0.len() + body.0.len()) as i32).to_be_bytes().to_vec();
        frame.extend(&header.0);
        frame.extend(&body.0);
        self.stream.write_all(&frame).unwrap();
        self.correlation
    }

    /// The next answer, with a version 0 header: its correlation id and body.
    pub fn receive(&mut self) -> io::Result<(i32, Decoder)> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut bytes = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut bytes)?;
        let mut decoder = Decoder { bytes, at: 0 };
        Ok((decoder.i32(), decoder))
    }

    pub fn call(&mut self, api: i16, version: i16, body: &Encoder) -> Decoder {
        let sent = self.send(api, version, body);
        let (correlation, decoder) = self.receive().unwrap();
        assert_eq!(correlation, sent);
        decoder
    }

    /// True when the broker has closed the connection.
    pub fn closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => panic!("an answer instead of a closed connection"),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// A record batch (magic 2) to be built; the fields are those of its header.
#[derive(Clone)]
pub struct Batch {
    pub values: Vec<Option<String>>,
    /// Of the records in their order; those behind have none.
    pub keys: Vec<Option<String>>,
    pub timestamp: i64,
    pub producer: (i64, i16),
    pub sequence: i32,
    pub magic: i8,
    pub attributes: i16,
    /// Added to the true count, last offset delta, or checksum, to make it wrong.
    pub count_error: i32,
    pub delta_error: i32,
    pub crc_error: u32,
}

impl Batch {
    pub fn of(values: &[&str]) -> Batch {
        Batch {
            values: values.iter().map(|value| Some((*value).to_owned())).collect(),
            keys: Vec::new(),
            timestamp: 1_700_000_000_000,
            producer: (-1, -1),
            sequence: -1,
            magic: 2,
            attributes: 0,
            count_error: 0,
            delta_error: 0,
            crc_error: 0,
        }
    }

    pub fn keyed(self, keys: &[Option<&str>]) -> Batch {
        Batch { keys: keys.iter().map(|key| key.map(str::to_owned)).collect(), ..self }
    }

    pub fn from(self, producer: (i64, i16), sequence: i32) -> Batch {
        Batch { producer, sequence, ..self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let count = self.values.len() as i32;
        let mut records = Vec::new();
        for (delta, value) in self.values.iter().enumerate() {
            let mut record = vec![0]; // attributes
            varint(&mut record, 0); // timestamp delta
            varint(&mut record, delta as i64);
            let key = self.keys.get(delta).cloned().flatten();
            for part in [&key, value] {
                varint(&mut record, part.as_ref().map_or(-1, |part| part.len() as i64));
                record.extend(part.iter().flat_map(|part| part.bytes()));
            }
            varint(&mut record, 0); // headers
            varint(&mut records, record.len() as i64);
            records.extend(record);
        }
        let checked = Encoder::default()
            .i16(self.attributes)
            .i32(count - 1 + self.delta_error)
            .i64(self.timestamp)
            .i64(self.timestamp)
            .i64(self.producer.0)
            .i16(self.producer.1)
            .i32(self.sequence)
            .i32(count + self.count_error);
        let mut checked = checked.0;
        checked.extend(records);
        let crc = crc32c::crc32c(&checked).wrapping_add(self.crc_error);
        let head = Encoder::default().i64(0).i32(checked.len() as i32 + 9).i32(-1).i8(self.magic);
        let mut bytes = head.i32(crc as i32).0;
        bytes.extend(checked);
        bytes
    }
}

impl Batch {
    /// The same with its records compressed by zstd, as its attributes have to say.
    pub fn packed(&self) -> Vec<u8> {
        let plain = self.bytes();
        let mut packed = plain[..61].to_vec();
        packed.extend(zstd::encode_all(&plain[61..], 1).unwrap());
        let length = packed.len() as i32 - 12;
        packed[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&packed[21..]);
        packed[17..21].copy_from_slice(&crc.to_be_bytes());
        packed
    }
}

/// Zigzag, seven bits a byte.
fn varint(to: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

/// Base offset and leader epoch of each batch in fetched records, and the records in it.
pub fn batches(mut bytes: &[u8]) -> Vec<(i64, i32, i32)> {
    let mut found = Vec::new();
    while bytes.len() >= 61 {
        let field = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let base = i64::from_be_bytes(bytes[..8].try_into().unwrap());
        let length = 12 + field(8) as usize;
        if length > bytes.len() {
            break;
        }
        found.push((base, field(12), field(57)));
        bytes = &bytes[length..];
    }
    found
}
