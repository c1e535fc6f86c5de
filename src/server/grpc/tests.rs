use super::*;

mod burst;
mod together;
mod waiting;

fn framed(compressed: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[compressed][..], &length.to_be_bytes(), bytes].concat()
}

#[test]
fn a_message_is_taken_out_of_its_prefix_only_when_it_is_exactly_one() {
    assert_eq!(message(&framed(0, 3, b"abc")), Ok(&b"abc"[..]));
    assert_eq!(message(&framed(0, 0, b"")), Ok(&b""[..]));
    assert_eq!(message(&framed(0, 4, b"abc")), Err(Refusal::NotOneMessage));
    assert_eq!(message(&framed(0, 2, b"abc")), Err(Refusal::NotOneMessage));
    assert_eq!(message(&framed(2, 3, b"abc")), Err(Refusal::NotOneMessage));
    assert_eq!(message(&framed(1, 3, b"abc")), Err(Refusal::Compressed));
    assert_eq!(message(&framed(0, u32::MAX, b"abc")), Err(Refusal::TooLong));
    for cut in 0..PREFIX {
        assert_eq!(message(&framed(0, 3, b"")[..cut]), Err(Refusal::NotOneMessage));
    }
}

#[test]
fn an_answer_is_taken_out_of_its_prefix_as_it_was_put_in() {
    let answer = [&[0; ROOM][..], &[7; 300]].concat();
    assert_eq!(message(Framed::new(SecretBytes::from_vec(answer)).as_ref()), Ok(&[7; 300][..]));
}
