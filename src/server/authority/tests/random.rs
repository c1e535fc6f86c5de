//! Properties that hold for any bytes, and for any requests.

use httlib_hpack::Decoder;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One field: how it is written, and what.
#[derive(Debug, Clone)]
enum Field {
    Authority {
        spelled: bool,
        value: String,
        flags: u8,
    },
    Other {
        name: String,
        value: String,
        flags: u8,
    },
    Static(u32),
    /// The entry of the dynamic table that was made last, if there is one.
    Again,
}

/// One request: its fields, and where its block is split into frames; the first frame's padding and priority; data behind it.
type Request = (Vec<Field>, Vec<usize>, Option<Vec<u8>>, bool, Vec<u8>);

fn field() -> impl Strategy<Value = Field> {
    let flags =
        (prop_oneof![Just(0), Just(Encoder::WITH_INDEXING), Just(Encoder::NEVER_INDEXED)], 0u8..4).prop_map(|(kind, coding)| kind | coding);
    prop_oneof![
        3 => (any::<bool>(), "([%/0-9a-z.:-]{1,40}|[ -~]{1,20})", flags.clone())
            .prop_map(|(spelled, value, flags)| Field::Authority { spelled, value, flags }),
        3 => ("[a-z:-]{1,12}", "[ -~]{1,150}", flags)
            .prop_filter("that would be the authority", |(name, ..)| name != ":authority")
            .prop_map(|(name, value, flags)| Field::Other { name, value, flags }),
        1 => (2u32..62).prop_map(Field::Static),
        2 => Just(Field::Again),
    ]
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let padding = proptest::option::of(vec(prop_oneof![Just(b'/'), any::<u8>()], 0..256));
    vec(
        (
            vec(field(), 0..8),
            vec(any::<prop::sample::Index>().prop_map(|i| i.index(1 << 16)), 0..3),
            padding,
            any::<bool>(),
            vec(any::<u8>(), 0..50),
        ),
        1..4,
    )
}

/// The blocks of the requests, as one encoder writes them one after the other.
fn blocks(requests: &[Request]) -> Vec<Vec<u8>> {
    let (mut encoder, mut entries) = (Encoder::with_dynamic_size(1 << 20), 0);
    let mut encode = |field: &Field, block: &mut Vec<u8>| {
        match field.clone() {
            Field::Static(index) => encoder.encode_indexed(index, block),
            Field::Again if entries == 0 => return,
            Field::Again => encoder.encode_indexed(62, block),
            Field::Authority { spelled: false, value, flags } => encoder.encode_indexed_name(1, value.into(), flags, block),
            Field::Authority { spelled: true, value, flags } => encoder.encode_literal(b":authority".to_vec(), value.into(), flags, block),
            Field::Other { name, value, flags } => encoder.encode_literal(name.into(), value.into(), flags, block),
        }
        .expect("encodes");
        if let Field::Authority { flags, .. } | Field::Other { flags, .. } = field {
            entries += u32::from(flags & Encoder::WITH_INDEXING != 0);
        }
    };
    let block = |(fields, ..): &Request| {
        let mut block = Vec::new();
        fields.iter().for_each(|field| encode(field, &mut block));
        block
    };
    requests.iter().map(block).collect()
}

/// The frames of the requests, and where in the stream each byte of the blocks is.
fn frames(requests: &[Request], blocks: &[Vec<u8>]) -> (Vec<u8>, Vec<Vec<usize>>) {
    let (mut stream, mut places) = (client(&[]), Vec::new());
    for (((_, cuts, padding, priority, data), block), n) in requests.iter().zip(blocks).zip(0..) {
        let stream_id = 1 + 2 * n;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (block.len() + 1)).chain([0, block.len()]).collect();
        cuts.sort_unstable();
        let mut of_block = Vec::new();
        for (n, pair) in cuts.windows(2).enumerate() {
            let (first, last) = (n == 0, n == cuts.len() - 2);
            let (mut flags, mut front, mut back) = (0, Vec::new(), &[][..]);
            if let Some(padding) = padding.as_ref().filter(|_| first) {
                flags |= PADDED;
                front.push(u8::try_from(padding.len()).expect("at most 255"));
                back = padding;
            }
            if *priority && first {
                flags |= PRIORITY;
                front.extend(b"/%/%/");
            }
            if last {
                flags |= END_HEADERS;
            }
            of_block.extend((pair[0]..pair[1]).map(|at| stream.len() + 9 + front.len() + at - pair[0]));
            let payload = [&front, &block[pair[0]..pair[1]], back].concat();
            let kind = if first { HEADERS } else { CONTINUATION };
            stream.extend(frame(kind, flags, stream_id, &payload));
        }
        stream.extend(frame(DATA, 0, stream_id, data));
        places.push(of_block);
    }
    (stream, places)
}

/// Names and values of all blocks.
fn decode(blocks: &[Vec<u8>]) -> Vec<(String, String)> {
    let mut decoder = Decoder::with_dynamic_size(1 << 20);
    let mut fields = Vec::new();
    for block in blocks {
        decoder.decode(&mut block.clone(), &mut fields).expect("decodes");
    }
    let text = |bytes| String::from_utf8(bytes).expect("ASCII");
    fields.into_iter().map(|(name, value, _)| (text(name), text(value))).collect()
}

proptest! {
    #[test]
    fn any_bytes_keep_their_number_and_pieces_do_not_matter(
        begun in any::<bool>(), bytes in vec(any::<u8>(), 0..600), sizes in vec(1usize..40, 1..5), buffers in vec(1usize..40, 1..5),
    ) {
        let stream = if begun { [PREFACE, &bytes].concat() } else { bytes };
        let expected = whole(&stream);
        prop_assert_eq!(expected.len(), stream.len());
        prop_assert_eq!(&in_pieces(&stream, &sizes), &expected);
        prop_assert_eq!(&through(&stream, &sizes, &buffers), &expected);
        prop_assert_eq!(&whole(&expected), &expected);
    }

    #[test]
    fn any_block_keeps_its_length_and_pieces_do_not_matter(
        // More often than not what begins an authority, what is replaced in it, and short lengths in Huffman code.
        block in vec(prop_oneof![2 => any::<u8>(), 1 => Just(0x41), 1 => Just(b'/'), 1 => 0x80u8..0x90], 0..100),
        sizes in vec(1usize..9, 1..5),
        buffers in vec(1usize..9, 1..5),
    ) {
        let stream = client(&[frame(HEADERS, END_HEADERS, 1, &block), frame(HEADERS, END_HEADERS, 3, &request(PATHS[0]))]);
        let expected = whole(&stream);
        prop_assert_eq!(expected.len(), stream.len());
        prop_assert_eq!(&in_pieces(&stream, &sizes), &expected);
        prop_assert_eq!(&through(&stream, &sizes, &buffers), &expected);
        prop_assert_eq!(&whole(&expected), &expected);
    }

    #[test]
    fn decoded_requests_differ_in_the_authority_alone(requests in requests(), sizes in vec(1usize..60, 1..5)) {
        let blocks = blocks(&requests);
        let (stream, places) = frames(&requests, &blocks);
        let patched_stream = in_pieces(&stream, &sizes);
        prop_assert_eq!(&whole(&stream), &patched_stream);
        let patched_blocks: Vec<Vec<u8>> = places.iter().map(|of_block| of_block.iter().map(|at| patched_stream[*at]).collect()).collect();
        let expected: Vec<_> = decode(&blocks)
            .into_iter()
            .map(|(name, value)| { let value = if name == ":authority" { patched(&value) } else { value }; (name, value) })
            .collect();
        prop_assert_eq!(decode(&patched_blocks), expected);
        // Outside the blocks nothing changed.
        let mut put_back = patched_stream;
        for (of_block, block) in places.iter().zip(&blocks) {
            for (at, byte) in of_block.iter().zip(block) { put_back[*at] = *byte; }
        }
        prop_assert_eq!(put_back, stream);
    }
}
