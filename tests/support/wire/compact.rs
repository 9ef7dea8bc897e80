//! The flexible encoding (KIP-482): lengths are varints and one too large, so that null is 0, and every
//! structure ends with tagged fields. Topic ids exist only in versions that have it.

use std::collections::BTreeMap;

use super::{Decoder, Encoder, Wire};

impl Encoder {
    /// A length of the flexible encoding: of a string, bytes or an array.
    pub fn count(mut self, count: usize) -> Encoder {
        let mut rest = count + 1;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    /// Null of any kind, and the end of a structure without tagged fields: both are one zero.
    pub fn zero(self) -> Encoder {
        self.i8(0)
    }

    pub fn text(self, value: &str) -> Encoder {
        self.blob(value.as_bytes())
    }

    pub fn blob(self, value: &[u8]) -> Encoder {
        let mut encoder = self.count(value.len());
        encoder.0.extend(value);
        encoder
    }

    pub fn id(mut self, id: [u8; 16]) -> Encoder {
        self.0.extend(id);
        self
    }
}

impl Decoder {
    fn varint(&mut self) -> usize {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.i8() as u8;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    /// `None` for null.
    pub fn blob(&mut self) -> Option<Vec<u8>> {
        let length = self.varint().checked_sub(1)?;
        self.at += length;
        Some(self.bytes[self.at - length..self.at].to_vec())
    }

    pub fn text(&mut self) -> Option<String> {
        self.blob().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    pub fn id(&mut self) -> [u8; 16] {
        self.take()
    }

    /// Each element with its tagged fields; `None` for null.
    pub fn rows<T>(&mut self, mut element: impl FnMut(&mut Decoder) -> T) -> Option<Vec<T>> {
        self.structures(|decoder| {
            let row = element(decoder);
            decoder.tags();
            row
        })
    }

    /// Each element, which reads its tagged fields itself; `None` for null.
    pub fn structures<T>(&mut self, mut element: impl FnMut(&mut Decoder) -> T) -> Option<Vec<T>> {
        let count = self.varint().checked_sub(1)?;
        Some((0..count).map(|_| element(self)).collect())
    }

    /// An array of numbers, which have no tagged fields.
    pub fn numbers(&mut self) -> Vec<i32> {
        let count = self.varint().saturating_sub(1);
        (0..count).map(|_| self.i32()).collect()
    }

    /// An array of strings, which have no tagged fields.
    pub fn texts(&mut self) -> Vec<String> {
        let count = self.varint().saturating_sub(1);
        (0..count).filter_map(|_| self.text()).collect()
    }

    /// Skips the tagged fields at the end of a structure.
    pub fn tags(&mut self) {
        self.tagged();
    }

    /// The tagged fields at the end of a structure, each to be read by itself.
    pub fn tagged(&mut self) -> BTreeMap<usize, Decoder> {
        let count = self.varint();
        let field = |_| {
            let (tag, length) = (self.varint(), self.varint());
            self.at += length;
            (tag, Decoder { bytes: self.bytes[self.at - length..self.at].to_vec(), at: 0 })
        };
        (0..count).map(field).collect()
    }
}

impl Wire {
    /// A call of a flexible version; `body` ends before its tagged fields, and so does what is given back end.
    pub fn call_flexible(&mut self, api: i16, version: i16, body: Encoder) -> Decoder {
        let mut decoder = self.call(api, version, &tagged(body));
        decoder.tags();
        decoder
    }

    /// The first half of such a call.
    pub fn send_flexible(&mut self, api: i16, version: i16, body: Encoder) -> i32 {
        self.send(api, version, &tagged(body))
    }

    /// The second half.
    pub fn receive_flexible(&mut self) -> Decoder {
        let mut decoder = self.receive().unwrap().1;
        decoder.tags();
        decoder
    }
}

/// The end of a flexible header and a body, neither with tagged fields.
fn tagged(body: Encoder) -> Encoder {
    let mut tagged = Encoder::default().zero();
    tagged.0.extend(body.0);
    tagged.zero()
}
