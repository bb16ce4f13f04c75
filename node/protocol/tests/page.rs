//! PROTOCOL.md and the types say the same: every example on the page is read by them, and its
//! tables name all that they name.

use whitewater_protocol::describe::Describe;
use whitewater_protocol::error_code;
use whitewater_protocol::launch::NodeConfig;
use whitewater_protocol::message::{Body, Envelope, Reply, Request};
use whitewater_protocol::trace::{TraceEvent, TraceKind};

const PAGE: &str = include_str!("../PROTOCOL.md");

/// The contents of the page's fenced blocks.
fn blocks() -> Vec<&'static str> {
    PAGE.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap().1).collect()
}

#[test]
fn every_example_is_what_the_types_say() {
    let mut kinds = [0; 4];
    for block in blocks() {
        if block.starts_with("{\"format\"") {
            let config: NodeConfig = serde_json::from_str(block).unwrap();
            assert!(!config.peers.contains_key(&config.id));
            kinds[0] += 1;
            continue;
        }
        for line in block.lines() {
            if let Some(request) = line.strip_prefix("-> ") {
                let request: Result<Envelope<Body<Request>>, _> = serde_json::from_str(request);
                // The page shows two requests that a node must refuse.
                kinds[1] += usize::from(request.is_ok());
            } else if let Some(reply) = line.strip_prefix("<- ") {
                serde_json::from_str::<Envelope<Body<Reply>>>(reply).unwrap();
                kinds[2] += 1;
            } else if line.starts_with("{\"v\"") {
                let event = TraceEvent::parse(line.as_bytes()).unwrap();
                assert!(!matches!(event.kind, TraceKind::Other(_)), "{line}");
                assert_eq!(event.to_line().trim_end(), line);
                kinds[3] += 1;
            }
        }
    }
    assert_eq!(kinds, [1, 9, 11, 15]);
}

#[test]
fn the_table_of_errors_is_complete() {
    for (code, name, definite) in error_code::ALL {
        let row = format!("| {code} | {name} | {} |", if definite { "yes" } else { "no" });
        assert!(PAGE.contains(&row), "the page lacks {row}");
    }
}

#[test]
fn every_field_of_the_launch_file_and_of_describe_is_on_the_page() {
    let describe = Describe {
        version: String::new(),
        protocol: 1,
        family: String::new(),
        modes: Vec::new(),
        features: Vec::new(),
        bugs: Vec::new(),
    };
    let launch = blocks().into_iter().find(|block| block.starts_with("{\"format\"")).unwrap();
    let launch: NodeConfig = serde_json::from_str(launch).unwrap();
    for json in [serde_json::to_value(describe).unwrap(), serde_json::to_value(launch).unwrap()] {
        for field in json.as_object().unwrap().keys().filter(|&field| field != "timing") {
            assert!(PAGE.contains(&format!("| `{field}` |")), "the page lacks {field}");
        }
    }
}
