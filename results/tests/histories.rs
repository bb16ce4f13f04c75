//! Histories in every form that is read, whole, cut and broken.

use std::path::Path;

use checker::history::{Event, EventKind, Failure};
use checker::value::Value;
use proptest::prelude::*;
use serde_json::Value as Json;
use whitewater_results::Error;
use whitewater_results::history::{HistoryReader, HistoryWriter, Process, Record, Torn};

fn read(bytes: &[u8]) -> (Result<Vec<Event>, Error>, Option<Torn>) {
    let mut reader = match HistoryReader::from_bytes(Path::new("h"), bytes.to_vec()) {
        Ok(reader) => reader,
        Err(error) => return (Err(error), None),
    };
    let events = reader.by_ref().collect();
    (events, reader.torn())
}

fn events(text: &str) -> Vec<Event> {
    read(text.as_bytes()).0.unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn event(line: u64, process: i64, kind: EventKind, f: &str, value: Value) -> Event {
    Event { line, process, kind, f: f.into(), key: None, value, failure: None }
}

const JSONL: &str = r#"{"index":0,"time":0,"process":0,"type":"invoke","f":"write","value":3}
{"index":1,"time":1,"process":"nemesis","type":"info","f":"kill","value":["n1"]}
{"index":2,"time":2,"process":0,"type":"ok","f":"write","value":3,"extra":{"kept":true}}
{"index":3,"time":3,"process":1,"type":"invoke","f":"cas","value":[1,2]}
{"index":4,"time":4,"process":1,"type":"fail","f":"cas","value":[1,2],"error":["precondition-failed","had 3"]}
"#;

const EDN_LINES: &str = "{:index 0, :time 0, :process 0, :type :invoke, :f :write, :value 3}
#jepsen.history.Op{:index 1, :time 1, :process :nemesis, :type :info, :f :kill, :value [\"n1\"]}
{:index 2, :time 2, :process 0, :type :ok, :f :write, :value 3, :extra #{:a}}
{:index 3, :time 3, :process 1, :type :invoke, :f :cas, :value [1 2]}
{:index 4, :time 4, :process 1, :type :fail, :f :cas, :value [1 2], :error [:precondition-failed \"had 3\"]}
";

fn expected() -> Vec<Event> {
    use EventKind::{Fail, Invoke, Ok};
    let pair = || Value::list([Value::Int(1), Value::Int(2)]);
    vec![
        event(1, 0, Invoke, "write", Value::Int(3)),
        event(3, 0, Ok, "write", Value::Int(3)),
        event(4, 1, Invoke, "cas", pair()),
        Event { failure: Some(Failure::PreconditionFailed), ..event(5, 1, Fail, "cas", pair()) },
    ]
}

#[test]
fn the_same_history_in_every_form() {
    let vector = format!("[{}]", EDN_LINES.trim_end());
    let list = format!("({}\n)\n", EDN_LINES.trim_end());
    let packed = zstd::encode_all(JSONL.as_bytes(), 3).unwrap();
    let packed_edn = zstd::encode_all(EDN_LINES.as_bytes(), 3).unwrap();
    let windows = JSONL.replace('\n', "\r\n");
    let bom = format!("\u{feff}{JSONL}");
    let forms: [&[u8]; 8] = [
        JSONL.as_bytes(),
        EDN_LINES.as_bytes(),
        vector.as_bytes(),
        list.as_bytes(),
        &packed,
        &packed_edn,
        windows.as_bytes(),
        bom.as_bytes(),
    ];
    for (at, bytes) in forms.into_iter().enumerate() {
        let (events, torn) = read(bytes);
        assert_eq!(events.unwrap(), expected(), "form {at}");
        assert_eq!(torn, None, "form {at}");
    }
}

#[test]
fn tuples_of_independent_are_keys_when_all_invocations_have_them() {
    let keyed = "{:process 0 :type :invoke :f :read :value [7 nil]}
{:process 1 :type :invoke :f :cas :value [\"k\" [1 2]]}
{:process 0 :type :info :f :read :value nil}
{:process 1 :type :ok :f :cas :value [\"k\" [1 2]]}\n";
    let events_keyed = events(keyed);
    let keys: Vec<_> = events_keyed.iter().map(|event| event.key.clone()).collect();
    assert_eq!(keys, [Some(7.into()), Some("k".into()), None, Some("k".into())]);
    assert_eq!(events_keyed[3].value, Value::list([Value::Int(1), Value::Int(2)]));

    for plain in [
        "{:process 0 :type :invoke :f :read :value nil}\n{:process 1 :type :invoke :f :cas :value [1 2]}\n",
        "{:process 1 :type :invoke :f :cas :value [1 2]}\n",
        "{:process 1 :type :invoke :f :txn :value [[:read :x nil] [:write :y 1]]}\n",
    ] {
        assert!(events(plain).iter().all(|event| event.key.is_none()), "{plain}");
    }
}

#[test]
fn tuples_in_json_lines_are_keys_when_a_read_gives_them_away() {
    let line = |kind: &str, f: &str, value: &str| {
        format!("{{\"process\":0,\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}\n")
    };
    let pairs = [
        line("invoke", "write", "[\"x\",1]"),
        line("ok", "write", "[\"x\",1]"),
        line("invoke", "cas", "[\"x\",[1,2]]"),
        line("ok", "cas", "[\"x\",[1,2]]"),
    ]
    .concat();
    let read = [line("invoke", "read", "[\"x\",null]"), line("ok", "read", "[\"x\",2]")].concat();
    let keyed = events(&(pairs.clone() + &read));
    assert!(keyed.iter().all(|event| event.key == Some(Value::from("x"))), "{keyed:?}");
    assert_eq!(keyed[5].value, Value::Int(2));
    // Without that read, or with one plain read, a list is a value like any other.
    let plain = [line("invoke", "read", "null"), line("ok", "read", "[\"x\",2]")].concat();
    for text in [pairs.clone(), pairs + &plain] {
        assert!(events(&text).iter().all(|event| event.key.is_none()), "{text}");
    }
}

#[test]
fn a_cut_compressed_file_says_so() {
    let packed = zstd::encode_all(JSONL.as_bytes(), 3).unwrap();
    for (bytes, is_cut) in [(&packed[..], false), (&packed[..packed.len() - 5], true)] {
        let mut reader = HistoryReader::from_bytes(Path::new("h"), bytes.to_vec()).unwrap();
        assert!(reader.by_ref().all(|event| event.is_ok()));
        assert_eq!(reader.is_cut(), is_cut);
    }
}

#[test]
fn a_bad_line_is_named_with_what_would_be_right() {
    let good = JSONL.lines().next().unwrap();
    for (bad, expected) in [
        ("nonsense", "h:2: expected ident at column 2; an event is one JSON object a line"),
        ("[1,2]", "h:2: "),
        (r#"{"process":1.5,"type":"ok","f":"read"}"#, "`process` is 1.5"),
        (r#"{"type":"ok","f":"read"}"#, "`process` is missing"),
        (r#"{"process":0,"type":"done","f":"read"}"#, "`type` is \"done\", not one of invoke"),
        (r#"{"process":0,"f":"read"}"#, "`type` is missing"),
        (r#"{"process":0,"type":"ok"}"#, "`f` is missing"),
        (r#"{"process":0,"type":"ok","f":"#, "EOF"),
    ] {
        let (events, _) = read(format!("{good}\n{bad}\n{good}\n").as_bytes());
        let error = events.unwrap_err().to_string();
        assert!(error.starts_with("h:2: ") && error.contains(expected), "{bad}: {error}");
    }
    // Only a line that ends too early was cut; one that is wrong stays wrong.
    let (events, torn) = read(format!("{good}\nnonsense").as_bytes());
    assert!(events.is_err() && torn.is_none());
    let (events, _) = read(format!("[{good},{good}]").as_bytes());
    assert!(events.unwrap_err().to_string().contains("a JSON array"));
    let deep = format!("{good}\n{{\"value\":{}\n", "[".repeat(100_000));
    let error = read(deep.as_bytes()).0.unwrap_err().to_string();
    assert!(error.starts_with("h:2: recursion limit exceeded"), "{error}");
}

#[test]
fn a_cut_history_gives_its_whole_events() {
    for text in [JSONL, EDN_LINES] {
        let all = events(text);
        for cut in 0..text.len() {
            let (events, torn) = read(&text.as_bytes()[..cut]);
            let events = events.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            assert!(all.starts_with(&events), "cut at {cut}");
            let whole_lines = text[..cut].matches('\n').count();
            let judged = all.iter().filter(|event| event.line <= whole_lines as u64).count();
            assert!(events.len() >= judged, "cut at {cut} loses a whole line");
            let ends_clean = cut == 0 || text[..cut].ends_with(['\n', '}']);
            assert!(torn.is_none() || !text[..cut].ends_with('\n'), "cut at {cut}");
            assert!(torn.is_some() || ends_clean, "cut at {cut} goes unreported");
        }
    }
}

#[test]
fn an_empty_history_has_no_events() {
    for text in ["", "\n\n", "[]", "()", "{:process :nemesis, :type :info, :f :start}\n"] {
        assert_eq!(events(text), [], "{text:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        ops in prop::collection::vec((0..4i64, 0..3usize, any::<i64>()), 0..40),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("history.jsonl");
        let mut writer = HistoryWriter::create(&path).unwrap();
        let mut expected = Vec::new();
        let mut process = [0, 1, 2, 3];
        for (client, outcome, number) in ops {
            let slot = &mut process[usize::try_from(client).unwrap()];
            let value = Json::from(number);
            let kinds = [EventKind::Ok, EventKind::Fail, EventKind::Info];
            for kind in [EventKind::Invoke, kinds[outcome]] {
                let record = Record {
                    time: 0,
                    process: Process::Client(*slot),
                    kind,
                    f: "write",
                    key: Some(&Json::from("k")),
                    value: &value,
                    error: None,
                    client: None,
                    msg_ids: &[1],
                    node: None,
                };
                let index = writer.write(&record).unwrap();
                expected.push(Event {
                    key: Some("k".into()),
                    ..event(index + 1, *slot, kind, "write", Value::Int(number))
                });
            }
            if kinds[outcome] == EventKind::Info {
                *slot += 4;
            }
        }
        writer.flush().unwrap();
        let read: Result<Vec<_>, _> = HistoryReader::open(&path).unwrap().collect();
        prop_assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = read(&[&[0x28, 0xb5, 0x2f, 0xfd], bytes.as_slice()].concat());
    }

    #[test]
    fn no_damage_panics(at in 0..500usize, byte in any::<u8>(), which in any::<bool>()) {
        let mut bytes = if which { JSONL } else { EDN_LINES }.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read(&bytes);
    }
}
