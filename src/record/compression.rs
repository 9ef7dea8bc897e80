//! The five codecs, opened as a stream that cannot be made to grow without bound.
//!
//! A megabyte of zstd may unfold to gigabytes, so nothing here unfolds a batch into memory at once:
//! readers pull records through a buffer, and the stream fails after [`INFLATED_BYTES_MAX`].
//! Snappy has no streaming form; its blocks are unfolded one by one, and a block that claims more than
//! its format can express, or than the bound leaves, is refused before memory is taken for it.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::ops::Range;

use bytes::Bytes;

/// Largest size that one batch may have after decompression. Producers bound a batch before they compress it
/// (1 MiB by default), so this is 128 times what a client sends unless it means harm.
pub const INFLATED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Size up to which unfolding a batch takes about a millisecond and little memory.
pub const INFLATED_BYTES_LITTLE: u64 = 1024 * 1024;

/// A snappy copy element makes at most 64 bytes out of 3, so no honest block grows more than this.
const SNAPPY_GROWTH_MAX: usize = 24;
/// Java's snappy stream: this magic, two version numbers, then length-prefixed blocks.
pub(super) const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;
/// How an LZ4 frame begins: 0x184D2204, little endian.
const LZ4_MAGIC: &[u8; 4] = b"\x04\x22\x4d\x18";
/// 2^27 = 128 MiB, zstd's own default bound for streams and what its highest level needs.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Under a small bound: 2^21 = 2 MiB, what the level that clients use announces however little there is.
const ZSTD_WINDOW_LOG_LITTLE: u32 = 21;

/// How the records of a batch are compressed: attribute bits 0 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    pub fn from_id(id: i16) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id)
    }

    pub fn id(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

/// The records of a batch, decompressed as they are read, out of bytes that are borrowed or owned.
///
/// An error of kind `FileTooLarge` means that the bound was passed; every other error, that the compressed
/// bytes are not what their codec says.
pub(super) struct Inflated<B: AsRef<[u8]>> {
    source: Source<B>,
    left: u64,
}

enum Source<B: AsRef<[u8]>> {
    Plain(Cursor<B>),
    Gzip(Box<BufReader<flate2::bufread::MultiGzDecoder<Cursor<B>>>>),
    Snappy(SnappyBlocks<B>),
    Lz4(Box<BufReader<lz4_flex::frame::FrameDecoder<Cursor<B>>>>),
    Zstd(Box<BufReader<zstd::Decoder<'static, Cursor<B>>>>),
}

impl<B: AsRef<[u8]>> Inflated<B> {
    /// Opens what follows `at` in `bytes`.
    pub(super) fn open(codec: Codec, bytes: B, at: usize, limit: u64) -> io::Result<Inflated<B>> {
        let mut packed = Cursor::new(bytes);
        packed.set_position(at as u64);
        let source = match codec {
            Codec::None => Source::Plain(packed),
            Codec::Gzip => {
                let decoder = flate2::bufread::MultiGzDecoder::new(packed);
                Source::Gzip(Box::new(BufReader::new(decoder)))
            }
            Codec::Snappy => Source::Snappy(SnappyBlocks::open(packed.into_inner(), at)?),
            Codec::Lz4 => {
                // The decoder also knows the format before frames, which no client of Kafka reads.
                if !packed.fill_buf()?.starts_with(LZ4_MAGIC) {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let decoder = lz4_flex::frame::FrameDecoder::new(packed);
                Source::Lz4(Box::new(BufReader::new(decoder)))
            }
            Codec::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                // The window is taken as announced, before anything is unfolded.
                let little = limit <= INFLATED_BYTES_LITTLE;
                let window = if little { ZSTD_WINDOW_LOG_LITTLE } else { ZSTD_WINDOW_LOG_MAX };
                decoder.window_log_max(window)?;
                Source::Zstd(Box::new(BufReader::new(decoder)))
            }
        };
        // One byte more than allowed is let through, so that "exactly at the bound" and "beyond" differ.
        Ok(Inflated { source, left: limit.saturating_add(1) })
    }
}

impl<B: AsRef<[u8]>> Read for Inflated<B> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let taken = ready.len().min(into.len());
        into[..taken].copy_from_slice(&ready[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

impl<B: AsRef<[u8]>> BufRead for Inflated<B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(too_large());
        }
        let ready = match &mut self.source {
            Source::Plain(rest) => rest.fill_buf()?,
            Source::Gzip(reader) => reader.fill_buf()?,
            Source::Snappy(blocks) => blocks.fill_buf(self.left)?,
            Source::Lz4(reader) => reader.fill_buf()?,
            Source::Zstd(reader) => reader.fill_buf()?,
        };
        let allowed = usize::try_from(self.left).unwrap_or(usize::MAX).min(ready.len());
        Ok(&ready[..allowed])
    }

    fn consume(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
        match &mut self.source {
            Source::Plain(rest) => rest.consume(bytes),
            Source::Gzip(reader) => reader.consume(bytes),
            Source::Snappy(blocks) => blocks.consume(bytes),
            Source::Lz4(reader) => reader.consume(bytes),
            Source::Zstd(reader) => reader.consume(bytes),
        }
    }
}

/// Snappy as clients send it: Java writes blocks behind a magic, librdkafka one bare block.
struct SnappyBlocks<B> {
    packed: B,
    /// Where in `packed` the next block begins.
    rest: usize,
    framed: bool,
    block: Vec<u8>,
    at: usize,
}

impl<B: AsRef<[u8]>> SnappyBlocks<B> {
    fn open(packed: B, begin: usize) -> io::Result<SnappyBlocks<B>> {
        let bytes = packed.as_ref().get(begin..).ok_or_else(cut_short)?;
        let framed = bytes.starts_with(XERIAL_MAGIC);
        if framed && bytes.len() < XERIAL_HEADER_BYTES {
            return Err(cut_short());
        }
        let rest = if framed { begin + XERIAL_HEADER_BYTES } else { begin };
        Ok(SnappyBlocks { packed, rest, framed, block: Vec::new(), at: 0 })
    }

    /// Unfolds the next block if there is one; `left` is what all that follow may come to.
    fn fill_buf(&mut self, left: u64) -> io::Result<&[u8]> {
        while self.at == self.block.len() && self.rest < self.packed.as_ref().len() {
            let next = self.next_block()?;
            self.rest = next.end;
            let packed = &self.packed.as_ref()[next];
            let length = snap::raw::decompress_len(packed).map_err(io::Error::other)?;
            if length > packed.len().saturating_mul(SNAPPY_GROWTH_MAX) || length as u64 > left {
                return Err(too_large());
            }
            self.block.resize(length, 0);
            self.at = 0;
            snap::raw::Decoder::new()
                .decompress(packed, &mut self.block)
                .map_err(io::Error::other)?;
        }
        Ok(&self.block[self.at..])
    }

    fn next_block(&self) -> io::Result<Range<usize>> {
        let all = self.packed.as_ref();
        if !self.framed {
            return Ok(self.rest..all.len());
        }
        let (length, after) = all[self.rest..].split_first_chunk().ok_or_else(cut_short)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(io::Error::other)?;
        if length > after.len() {
            return Err(cut_short());
        }
        let begin = all.len() - after.len();
        Ok(begin..begin + length)
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

fn too_large() -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

fn cut_short() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Reads exactly `length` bytes out of a stream, taking memory only as they arrive.
pub(super) fn take<R: BufRead>(source: &mut R, length: usize) -> io::Result<Bytes> {
    let mut out = Vec::with_capacity(length.min(64 * 1024));
    while out.len() < length {
        let ready = source.fill_buf()?;
        if ready.is_empty() {
            return Err(cut_short());
        }
        let taken = ready.len().min(length - out.len());
        out.extend_from_slice(&ready[..taken]);
        source.consume(taken);
    }
    Ok(Bytes::from(out))
}

/// Passes over exactly `length` bytes of a stream.
pub(super) fn skip<R: BufRead>(source: &mut R, mut length: usize) -> io::Result<()> {
    while length > 0 {
        let ready = source.fill_buf()?.len();
        if ready == 0 {
            return Err(cut_short());
        }
        let passed = ready.min(length);
        source.consume(passed);
        length -= passed;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
