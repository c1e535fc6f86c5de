//! Every form of an `:authority` and of the frames around it; and what is not one.

use super::*;

/// One field alone, by name index if there is one.
fn field(index: Option<u32>, name: &str, value: &str, flags: u8) -> Vec<u8> {
    let (mut block, value) = (Vec::new(), value.as_bytes().to_vec());
    let mut encoder = Encoder::default();
    match index {
        Some(index) => encoder.encode_indexed_name(index, value, flags, &mut block),
        None => encoder.encode_literal(name.as_bytes().to_vec(), value, flags, &mut block),
    }
    .expect("encodes");
    block
}

/// Without indexing, with incremental indexing, never indexed; each plain and in Huffman code.
fn all_flags() -> impl Iterator<Item = u8> {
    let kinds = [0, Encoder::WITH_INDEXING, Encoder::NEVER_INDEXED];
    let coding = [0, Encoder::HUFFMAN_VALUE, Encoder::HUFFMAN_NAME, Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE];
    kinds.into_iter().flat_map(move |kind| coding.map(|coding| kind | coding))
}

fn headers(block: &[u8]) -> Vec<u8> {
    client(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, block)])
}

#[test]
fn the_path_is_patched_in_every_literal_whether_the_name_is_an_index_or_spelled_out() {
    for flags in all_flags() {
        for path in PATHS {
            for index in [Some(1), None] {
                let [before, after] = [path, &patched(path)].map(|value| headers(&field(index, ":authority", value, flags)));
                assert_ne!(before, after);
                assert_eq!(whole(&before), after, "{path} {index:?} {flags:#x}");
            }
        }
    }
}

#[test]
fn both_characters_are_patched_wherever_in_a_byte_they_begin() {
    // `0` has 5 bits, so that eight of them go through all places; `z` has 7.
    for zeros in 0..8 {
        for odd in ["", "/", "%", "//", "%%", "/%/", "z/z%z", "%\u{7f}/"] {
            let value = format!("{}{odd}0", "0".repeat(zeros));
            let [before, after] = [&value, &patched(&value)].map(|v| headers(&field(Some(1), "", v, Encoder::HUFFMAN_VALUE)));
            assert_eq!(whole(&before), after, "{value:?}");
            assert_eq!(in_pieces(&before, &[1]), after, "{value:?}");
        }
    }
}

#[test]
fn cutting_the_stream_anywhere_changes_nothing() {
    for path in PATHS {
        let [before, after] =
            [path, &patched(path)].map(|p| client(&[frame(HEADERS, END_HEADERS, 1, &request(p)), frame(DATA, 1, 1, b"/%")]));
        for cut in 1..before.len() {
            assert_eq!(in_pieces(&before, &[cut, usize::MAX]), after, "cut at {cut}");
            assert_eq!(through(&before, &[cut, usize::MAX], &[8192]), after, "cut at {cut}");
        }
        for size in 1..9 {
            assert_eq!(in_pieces(&before, &[size]), after, "pieces of {size}");
            for room in 1..9 {
                assert_eq!(through(&before, &[size], &[room]), after, "pieces of {size}, buffers of {room}");
            }
        }
    }
}

#[test]
fn padding_and_priority_are_not_taken_for_the_block() {
    let (priority, padding) = (b"/%/%/", b"%/%/%/%");
    for path in PATHS {
        for flags in [PADDED, PRIORITY, PADDED | PRIORITY] {
            let [before, after] = [path, &patched(path)].map(|path| {
                let mut payload = Vec::new();
                if flags & PADDED != 0 {
                    payload.push(u8::try_from(padding.len()).expect("short"));
                }
                if flags & PRIORITY != 0 {
                    payload.extend(priority);
                }
                payload.extend(request(path));
                if flags & PADDED != 0 {
                    payload.extend(padding);
                }
                client(&[frame(HEADERS, flags | END_HEADERS, 1, &payload), frame(HEADERS, END_HEADERS, 3, &request(path))])
            });
            assert_eq!(whole(&before), after);
            assert_eq!(in_pieces(&before, &[1]), after);
        }
    }
}

#[test]
fn a_block_may_be_split_into_continuations_anywhere() {
    for path in PATHS {
        let (before, after) = (request(path), request(&patched(path)));
        for first in 0..=before.len() {
            for second in first..=before.len() {
                let [before, after] = [&before, &after].map(|block| {
                    client(&[
                        frame(HEADERS, 0, 1, &block[..first]),
                        frame(CONTINUATION, 0, 1, &block[first..second]),
                        frame(CONTINUATION, END_HEADERS, 1, &block[second..]),
                    ])
                });
                assert_eq!(whole(&before), after, "split at {first} and {second}");
                assert_eq!(in_pieces(&before, &[1]), after, "split at {first} and {second}");
            }
        }
    }
}

#[test]
fn a_symbol_broken_by_the_longest_padding_is_patched_and_the_longest_that_waits() {
    // `0/`: the slash begins in the first byte's last three bits.
    let [before, after] = ["0/", "0-"].map(|value| {
        let block = field(Some(1), "", value, Encoder::HUFFMAN_VALUE);
        let (first, second) = block.split_at(block.len() - 1);
        client(&[frame(HEADERS, PADDED, 1, &[&[255], first, &[b'/'; 255]].concat()), frame(CONTINUATION, END_HEADERS, 1, second)])
    });
    assert_eq!(in_pieces(&before, &[1]), after);
    assert_eq!(through(&before, &[1], &[1, 100, 300]), after);
    let mut all_but_one = before[..before.len() - 1].to_vec();
    let is_final = AuthorityPatch::new().patch(&mut all_but_one);
    assert_eq!(all_but_one.len() - is_final, AuthorityPatch::MAX_PENDING);
}

#[test]
fn a_byte_waits_only_in_a_symbol_that_is_not_whole() {
    let stream = headers(&request(PATHS[0]));
    let value = stream.windows(3).position(|bytes| bytes[0] == 0x41).expect("authority") + 2;
    let mut waited = 0;
    for len in 0..=stream.len() {
        let is_final = AuthorityPatch::new().patch(&mut stream[..len].to_vec());
        waited += len - is_final;
        assert!(is_final == len || is_final + 1 == len && (value..value + 13).contains(&is_final), "{is_final} of {len}");
    }
    assert!(waited > 0, "the value has slashes across bytes");
}

#[test]
fn a_later_request_names_the_patched_entry_by_its_index() {
    let again = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x83, 0x86, 0xc0, 0xbf, 0xbe]);
    let [before, after] = [PATHS[0], &patched(PATHS[0])].map(|p| client(&[frame(HEADERS, END_HEADERS, 1, &request(p)), again.clone()]));
    assert_eq!(whole(&before), after);
}

#[test]
fn everything_else_passes_unchanged() {
    for flags in all_flags() {
        for value in ["", "localhost", "@kms.sock", "[::1]:443"] {
            let stream = headers(&field(Some(1), ":authority", value, flags));
            assert_eq!(whole(&stream), stream, "{value}");
        }
        for name in ["", ":path", ":authorit", ":authority2", ":Authority", "x:authority", "authority", "host"] {
            let stream = headers(&field(None, name, "/a%2Fb", flags));
            assert_eq!(whole(&stream), stream, "{name}");
        }
        for index in 2..62 {
            let stream = headers(&field(Some(index), "", "/a%2Fb", flags));
            assert_eq!(whole(&stream), stream, "name index {index}");
        }
    }
    // The bytes of a request in the data and in a frame of an unknown kind.
    let block = request(PATHS[0]);
    let stream = client(&[frame(DATA, 0, 1, &block), frame(0xee, 4, 1, &block), frame(DATA, 1, 1, &[])]);
    assert_eq!(whole(&stream), stream);
}

#[test]
fn a_size_update_a_reserved_bit_and_empty_frames_do_not_end_the_patching() {
    for size in [&[0x20][..], &[0x2f], &[0x3e], &[0x3f, 0xe1, 0x1f], &[0x20, 0x3f, 0x00]] {
        let [before, after] = [PATHS[0], &patched(PATHS[0])].map(|path| {
            let block = [size, &request(path)].concat();
            // The highest bit before the stream's number has no meaning (RFC 9113 section 4.1).
            let continuation = frame(CONTINUATION, END_HEADERS, 1 | 1 << 31, &block);
            client(&[frame(DATA, 0, 1, &[]), frame(SETTINGS, 0, 0, &[]), frame(HEADERS, 0, 1, &[]), continuation])
        });
        assert_eq!(whole(&before), after, "{size:02x?}");
    }
}

#[test]
fn integers_of_several_bytes_are_followed() {
    for length in [30, 126, 127, 128, 254, 255, 300, 20_000] {
        let long = "/x".repeat(length);
        for flags in all_flags() {
            let [before, after] = [&long, &patched(&long)].map(|value| {
                let block =
                    [field(Some(61), "", "/a%2Fb", flags), field(None, &"x".repeat(length), "/", flags), field(Some(1), "", value, flags)];
                headers(&block.concat())
            });
            assert_eq!(whole(&before), after, "{length} {flags:#x}");
        }
    }
}
