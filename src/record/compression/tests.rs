use super::*;

fn inflate(codec: Codec, packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Inflated::open(codec, packed, 0, limit)?.read_to_end(&mut out)?;
    Ok(out)
}

#[test]
fn every_codec_returns_what_it_was_given() {
    let plain: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
    for codec in Codec::ALL {
        let packed = codec.deflate(&plain).unwrap();
        assert_eq!(inflate(codec, &packed, INFLATED_BYTES_MAX).unwrap(), plain, "{codec:?}");
    }
}

#[test]
fn bare_snappy_blocks_are_read_too() {
    let packed = snap::raw::Encoder::new().compress_vec(b"aaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    assert_eq!(inflate(Codec::Snappy, &packed, 100).unwrap(), b"aaaaaaaaaaaaaaaaaaaaaaaa");
}

#[test]
fn a_stream_stops_at_its_bound() {
    let plain = vec![0_u8; 1 << 20];
    for codec in Codec::ALL {
        let packed = codec.deflate(&plain).unwrap();
        assert_eq!(inflate(codec, &packed, 1 << 20).unwrap().len(), 1 << 20, "{codec:?}");
        let error = inflate(codec, &packed, (1 << 20) - 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{codec:?}");
    }
}

#[test]
fn a_snappy_block_that_claims_gigabytes_takes_no_memory() {
    // A varint length of 2^32 - 1 and nothing behind it.
    let error = inflate(Codec::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f], u64::MAX - 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn a_snappy_block_above_what_is_left_is_not_unfolded() {
    // A block that is what it says, so that only the bound can refuse it before memory is taken.
    let packed = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).unwrap();
    let mut blocks = SnappyBlocks::open(&packed, 0).unwrap();
    let error = blocks.fill_buf(1 << 19).unwrap_err();
    assert_eq!((error.kind(), blocks.block.capacity()), (io::ErrorKind::FileTooLarge, 0));
}

#[test]
fn under_a_small_bound_zstd_takes_no_large_window() {
    // The head of a frame that announces a window of 2^27 bytes, and one empty last block.
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
    assert_eq!(inflate(Codec::Zstd, &head, INFLATED_BYTES_MAX).unwrap(), b"");
    inflate(Codec::Zstd, &head, INFLATED_BYTES_LITTLE).unwrap_err();
}

#[test]
fn lz4_of_the_time_before_frames_is_refused_as_consumers_would() {
    // Magic 0x184C2102, then one block: five literals.
    let legacy = b"\x02\x21\x4c\x18\x06\0\0\0\x50hello";
    let error = inflate(Codec::Lz4, legacy, 100).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn cut_streams_are_errors_or_shorter_but_never_panics() {
    let plain: Vec<u8> = (0..5_000_u32).flat_map(u32::to_be_bytes).collect();
    for codec in Codec::ALL {
        let packed = codec.deflate(&plain).unwrap();
        for cut in (0..packed.len()).step_by(97) {
            if let Ok(out) = inflate(codec, &packed[..cut], INFLATED_BYTES_MAX) {
                assert!(out.len() <= plain.len());
            }
        }
    }
}
