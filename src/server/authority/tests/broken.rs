//! Streams that break the rules, and those that break off.

use super::*;

/// A request that would be patched, were the stream still followed.
fn good() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 5, &request(PATHS[0]))
}

#[test]
fn after_anything_not_understood_the_rest_passes_unchanged() {
    assert_ne!(whole(&client(&[good()])), client(&[good()]), "it is patched as long as the stream is followed");
    let block = |bytes: &[u8]| frame(HEADERS, END_HEADERS, 1, bytes);
    for (what, frames) in [
        ("a continuation of nothing", vec![frame(CONTINUATION, END_HEADERS, 1, &[])]),
        ("data inside a block", vec![frame(HEADERS, 0, 1, &[]), frame(DATA, 0, 1, &[])]),
        ("headers inside a block", vec![frame(HEADERS, 0, 1, &[])]),
        ("another stream's continuation", vec![frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, END_HEADERS, 3, &[])]),
        ("padding without a length", vec![frame(HEADERS, PADDED | END_HEADERS, 1, &[])]),
        ("padding longer than the frame", vec![frame(HEADERS, PADDED | END_HEADERS, 1, &[2, 0])]),
        ("priority in too short a frame", vec![frame(HEADERS, PRIORITY | END_HEADERS, 1, &[0; 4])]),
        ("padding and priority in too short a frame", vec![frame(HEADERS, PADDED | PRIORITY | END_HEADERS, 1, &[1, 0, 0, 0, 0, 0])]),
        ("an integer of too many bytes", vec![block(&[0xff, 0x80, 0x80, 0x80, 0x80, 0])]),
        ("a name index of too many bytes", vec![block(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0, 0])]),
        ("a length of too many bytes", vec![block(&[&[0x41, 0x7f, 0x80, 0x80, 0x80, 0x80, 0][..], &[b'x'; 127]].concat())]),
        ("a block that ends in an integer", vec![block(&[0xff])]),
        ("a block that ends before a name", vec![block(&[0x40])]),
        ("a block that ends in a name", vec![block(&[0x40, 0x02, b'x'])]),
        ("a block that ends before a value", vec![block(&[0x41])]),
        ("a block that ends in a value", vec![block(&[0x41, 0x02, b'x'])]),
    ] {
        let stream = client(&[frames.concat(), good()]);
        assert_eq!(whole(&stream), stream, "{what}");
        assert_eq!(in_pieces(&stream, &[1]), stream, "{what}");
    }
}

#[test]
fn the_longest_integers_are_still_followed() {
    // 127 + (2^28 - 1): an index, then a name index, each with four bytes behind the first.
    let fields = [0xff, 0xff, 0xff, 0xff, 0x7f, 0x0f, 0xff, 0xff, 0xff, 0x7f, 0x01, b'/'];
    let stream = client(&[frame(HEADERS, END_HEADERS, 1, &fields), good()]);
    let expected = client(&[frame(HEADERS, END_HEADERS, 1, &fields), frame(HEADERS, END_HEADERS, 5, &request(&patched(PATHS[0])))]);
    assert_eq!(whole(&stream), expected);
}

#[test]
fn a_connection_that_does_not_begin_with_the_preface_passes_unchanged() {
    let stream = client(&[good()]);
    for at in 0..PREFACE.len() {
        let mut other = stream.clone();
        other[at] ^= 0x20;
        assert_eq!(whole(&other), other, "byte {at} of the preface");
    }
    let http1 = b"GET /a%2Fb HTTP/1.1\r\nhost: /var/run/kms.sock\r\n\r\n";
    assert_eq!(whole(http1), http1);
}

#[test]
fn empty_continuations_inside_a_symbol_are_followed_up_to_the_limit() {
    // 265 bytes may wait: the one before them and 29 frame headers.
    for (count, followed) in [(0, true), (27, true), (28, true), (29, false), (2000, false)] {
        let [before, after] = ["0/", "0-"].map(|value| {
            let mut block = Vec::new();
            Encoder::default().encode_indexed_name(1, value.into(), Encoder::HUFFMAN_VALUE, &mut block).expect("encodes");
            let (first, second) = block.split_at(block.len() - 1);
            let empty = frame(CONTINUATION, 0, 1, &[]).repeat(count);
            client(&[frame(HEADERS, 0, 1, first), empty, frame(CONTINUATION, END_HEADERS, 1, second), good()])
        });
        let (one, pieces) = (whole(&before), in_pieces(&before, &[1]));
        assert_eq!(one, pieces, "{count} empty frames");
        if followed {
            assert_eq!(one[..after.len() - good().len()], after[..after.len() - good().len()], "{count} empty frames");
        } else {
            assert_eq!(one, before, "{count} empty frames");
        }
    }
}

#[test]
fn a_stream_that_ends_inside_a_symbol_ends_with_the_bytes_it_had() {
    let stream = client(&[good()]);
    for len in 0..stream.len() {
        let expected = whole(&stream[..len]);
        assert_eq!(expected.len(), len);
        for buffer in [1, 2, 8192] {
            assert_eq!(through(&stream[..len], &[1], &[buffer]), expected, "broken off after {len} bytes, buffers of {buffer}");
        }
    }
}

#[test]
fn what_comes_after_an_end_of_stream_inside_a_symbol_passes_unchanged() {
    let stream = client(&[frame(HEADERS, END_HEADERS, 1, &request(&PATHS.concat().repeat(4)))]);
    let waits = |len: &usize| AuthorityPatch::new().patch(&mut stream[..*len].to_vec()) < *len;
    let cuts: Vec<usize> = (0..stream.len()).filter(waits).collect();
    assert!(!cuts.is_empty(), "the value has slashes across bytes");
    for cut in cuts {
        let expected = [whole(&stream[..cut]), stream[cut..].to_vec()].concat();
        assert_eq!(through(&stream, &[cut, 0, usize::MAX], &[8192]), expected, "end after {cut} bytes");
    }
}

#[test]
fn a_name_from_the_dynamic_table_is_not_followed() {
    let mut block = request("localhost");
    // The entry made last is content-type, the one before it the authority: its name, another value.
    block.extend([0x0f, 63 - 15, 2, b'/', b'x']);
    let stream = client(&[frame(HEADERS, END_HEADERS, 1, &block)]);
    assert_eq!(whole(&stream), stream);
}
