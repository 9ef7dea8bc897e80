//! Records compressed, as clients of each codec write them.
//!
//! For the command-line client and the tests, and for topics whose `compression.type` is not what the producer chose. There
//! the records come as a stream, so that what unfolds to much takes no memory of its size.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::batch::{
    ATTRIBUTES_AT, CODEC_BITS, CRC_AT, HEADER_BYTES, Header, LENGTH_AT, PREFIX_BYTES, checksum,
};
use super::compression::{Codec, Inflated, XERIAL_MAGIC};

/// Block size that Java's snappy stream uses.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// The level Kafka's producer uses for zstd.
const ZSTD_LEVEL: i32 = 3;

impl Codec {
    /// Compresses `plain` the way clients of this codec do.
    pub fn deflate(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        self.deflate_stream(&mut &*plain, Vec::new())
    }

    /// Compresses what `plain` gives, behind what is in `out`.
    pub(super) fn deflate_stream<R: Read, W: Write>(
        self,
        plain: &mut R,
        mut out: W,
    ) -> io::Result<W> {
        match self {
            Codec::None => {
                io::copy(plain, &mut out)?;
                Ok(out)
            }
            Codec::Gzip => {
                let mut packed = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
                io::copy(plain, &mut packed)?;
                packed.finish()
            }
            Codec::Snappy => xerial(plain, out),
            Codec::Lz4 => {
                let mut packed = lz4_flex::frame::FrameEncoder::new(out);
                io::copy(plain, &mut packed)?;
                packed.finish().map_err(io::Error::other)
            }
            Codec::Zstd => {
                let mut packed = zstd::Encoder::new(out, ZSTD_LEVEL)?;
                io::copy(plain, &mut packed)?;
                packed.finish()
            }
        }
    }
}

/// Returns a whole batch with its records compressed by `codec`, and a checksum that fits. The records are the same, and so is
/// the rest of the header. `Err`: how large it would be, where that is more than `bytes_max`.
///
/// # Errors
/// What decompressing says of a batch that was not checked.
pub(super) fn recompressed(
    batch: &[u8],
    header: &Header,
    codec: Codec,
    (inflated_bytes_max, bytes_max): (u64, usize),
) -> io::Result<Result<Bytes, usize>> {
    let from = header.codec().ok_or(io::ErrorKind::InvalidData)?;
    let mut plain = Inflated::open(from, batch, HEADER_BYTES, inflated_bytes_max)?;
    let header_bytes = batch.get(..HEADER_BYTES).ok_or(io::ErrorKind::UnexpectedEof)?;
    let out = Bounded { kept: header_bytes.to_vec(), bytes: HEADER_BYTES, bytes_max };
    let Bounded { kept: mut out, bytes, .. } = codec.deflate_stream(&mut plain, out)?;
    if bytes > bytes_max {
        return Ok(Err(bytes));
    }
    let length = i32::try_from(bytes - PREFIX_BYTES).map_err(io::Error::other)?;
    let attributes = (header.attributes & !CODEC_BITS) | codec.id();
    out[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    out[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    let crc = checksum(&out);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    Ok(Ok(Bytes::from(out)))
}

/// What is written up to a bound, and how much was written in all.
struct Bounded {
    kept: Vec<u8>,
    bytes: usize,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(more.len());
        if self.bytes <= self.bytes_max {
            self.kept.extend_from_slice(more);
        }
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Java's snappy stream: a magic, two version numbers, then blocks behind their lengths.
fn xerial<R: Read, W: Write>(plain: &mut R, mut out: W) -> io::Result<W> {
    out.write_all(XERIAL_MAGIC)?;
    out.write_all(&1_u32.to_be_bytes())?;
    out.write_all(&1_u32.to_be_bytes())?;
    let mut block = Vec::with_capacity(XERIAL_BLOCK_BYTES);
    loop {
        block.clear();
        plain.by_ref().take(XERIAL_BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(out);
        }
        let packed = snap::raw::Encoder::new().compress_vec(&block).map_err(io::Error::other)?;
        let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
        out.write_all(&length.to_be_bytes())?;
        out.write_all(&packed)?;
    }
}
