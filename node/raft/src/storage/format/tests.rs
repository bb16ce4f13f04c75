use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::core::Change;

fn owner() -> NodeId {
    NodeId::new("n1")
}

fn write(index: u64, term: u64) -> Record {
    let change = Change::Write { key: "k".into(), value: json!({"v": index}) };
    let payload = Payload::Command(Arc::new(Command::new("c1".into(), index, change)));
    Record::Append { index: Index(index), entry: Entry { term: Term(term), payload } }
}

fn noop(index: u64, term: u64) -> Record {
    let entry = Entry { term: Term(term), payload: Payload::Noop };
    Record::Append { index: Index(index), entry }
}

fn hard(term: u64, vote: Option<&str>) -> Record {
    Record::HardState { term: Term(term), vote: vote.map(NodeId::from) }
}

fn frames() -> Vec<Vec<Record>> {
    vec![
        vec![hard(1, None)],
        vec![hard(1, Some("n2")), noop(1, 1)],
        vec![write(2, 1), write(3, 1), write(4, 1)],
        vec![hard(2, Some("n1")), Record::Truncate { from: Index(3) }, noop(3, 2)],
        vec![write(4, 2)],
    ]
}

/// The file with these frames, and where each frame begins (and the last ends).
fn file(frames: &[Vec<Record>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = encode_header(&owner());
    let mut starts = vec![bytes.len()];
    for (sequence, records) in (1..).zip(frames) {
        let mut body = Vec::new();
        for record in records {
            encode_record(&mut body, record);
        }
        bytes.extend(encode_frame(sequence, &body));
        starts.push(bytes.len());
    }
    (bytes, starts)
}

fn state_after(frames: &[Vec<Record>]) -> Restored {
    decode(&file(frames).0, &owner()).unwrap().restored
}

#[test]
fn records_lead_to_the_state_they_describe() {
    let restored = state_after(&frames());
    assert_eq!((restored.term, restored.vote), (Term(2), Some("n1".into())));
    let terms: Vec<u64> = restored.entries.iter().map(|entry| entry.term.0).collect();
    assert_eq!(terms, [1, 1, 2, 2]);
    assert_eq!(restored.entries[3].payload.text(), r#"["write","c1",4,"k",{"v":4}]"#);
}

#[test]
fn an_end_torn_at_any_byte_is_cut_back_to_the_last_whole_frame() {
    let (bytes, starts) = file(&frames());
    for length in starts[0]..=bytes.len() {
        let decoded = decode(&bytes[..length], &owner()).unwrap();
        let whole = starts.iter().rposition(|&start| start <= length).unwrap();
        assert_eq!(decoded.intact_bytes, starts[whole], "cut to {length}");
        assert_eq!(decoded.sequence, whole as u64);
        assert_eq!(decoded.restored, state_after(&frames()[..whole]));
    }
}

#[test]
fn a_torn_frame_whose_end_reads_as_zeros_is_cut_too() {
    let (mut bytes, starts) = file(&frames());
    let last = starts[starts.len() - 2];
    for length in last..bytes.len() {
        bytes[length..].fill(0);
        assert_eq!(decode(&bytes, &owner()).unwrap().intact_bytes, last);
        let (whole, _) = file(&frames());
        bytes.copy_from_slice(&whole);
    }
    bytes.extend([0; 4096]);
    assert_eq!(decode(&bytes, &owner()).unwrap().intact_bytes, *starts.last().unwrap());
}

#[test]
fn every_flipped_bit_before_the_last_frame_is_refused() {
    let (bytes, starts) = file(&frames());
    let last = starts[starts.len() - 2];
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let decoded = decode(&flipped, &owner());
        if bit / 8 < last {
            let error = decoded.expect_err("a flipped bit was believed").to_string();
            assert!(!error.is_empty());
        } else {
            let decoded = decoded.unwrap();
            assert_eq!(decoded.intact_bytes, last, "bit {bit}");
            assert_eq!(decoded.restored, state_after(&frames()[..frames().len() - 1]));
        }
    }
}

#[test]
fn a_missing_frame_is_refused() {
    let (bytes, starts) = file(&frames());
    let without = [&bytes[..starts[1]], &bytes[starts[2]..]].concat();
    let error = decode(&without, &owner()).unwrap_err();
    assert!(matches!(error, Damage::Content { .. }), "{error}");
}

#[test]
fn impossible_orders_are_refused() {
    let cases = [
        vec![vec![noop(2, 1)]],
        vec![vec![noop(1, 1), noop(1, 1)]],
        vec![vec![Record::Truncate { from: Index(1) }]],
        vec![vec![hard(2, None)], vec![hard(1, None)]],
        vec![vec![hard(2, Some("n1"))], vec![hard(2, Some("n2"))]],
    ];
    for frames in cases {
        let error = decode(&file(&frames).0, &owner()).unwrap_err();
        assert!(matches!(error, Damage::Content { .. }), "{frames:?}: {error}");
    }
}

#[test]
fn other_files_are_refused_by_name() {
    let refuse = |bytes: &[u8]| decode(bytes, &owner()).unwrap_err();
    assert_eq!(refuse(b""), Damage::Header);
    assert_eq!(refuse(b"{\"format\": 1}\n"), Damage::Magic);
    let mut newer = encode_header(&owner());
    newer[8] = 2;
    assert_eq!(refuse(&newer), Damage::Version { found: 2 });
    let other = refuse(&encode_header(&"n2".into()));
    assert!(matches!(other, Damage::Owner { .. }));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut bytes, _) = file(&frames()[..2]);
        bytes.extend(tail);
        let decoded = decode(&bytes, &owner()).unwrap();
        prop_assert_eq!(decoded.restored, state_after(&frames()[..2]));
    }
}
