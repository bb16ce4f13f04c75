//! A small stand-in for the harness, for tests that kill it: `guardian-host WHITEWATER MODE`.
//!
//! It starts a guardian (the `WHITEWATER` binary) in `MODE` and obeys commands on stdin, one
//! [`GuardianCommand`] in JSON a line; each event goes to stdout in JSON. It ends when stdin does.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use whitewater::guardian::{Guardian, GuardianCommand, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [program, mode] = args.as_slice() else {
        eprintln!("usage: guardian-host WHITEWATER MODE");
        return ExitCode::from(2);
    };
    match host(program.into(), mode).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("{{\"failed\":{}}}", serde_json::Value::from(why));
            ExitCode::from(4)
        }
    }
}

async fn host(program: PathBuf, mode: &str) -> Result<(), String> {
    let options = Options { mode: Some(mode.parse()?), program: Some(program) };
    let (guardian, mut events) =
        Guardian::spawn(options).await.map_err(|error| error.to_string())?;
    let mut commands = BufReader::new(tokio_stdin()?).lines();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => println!("{}", to_json(&event)?),
                None => return Ok(()),
            },
            line = commands.next_line() => match line.map_err(|error| error.to_string())? {
                Some(line) => {
                    let command: GuardianCommand =
                        serde_json::from_str(&line).map_err(|error| error.to_string())?;
                    guardian.send(command).map_err(|error| error.to_string())?;
                }
                None => return Ok(()),
            },
        }
    }
}

fn to_json(event: &whitewater::guardian::GuardianEvent) -> Result<String, String> {
    serde_json::to_string(event).map_err(|error| error.to_string())
}

/// Stdin as the socket that the test made it.
fn tokio_stdin() -> Result<tokio::net::UnixStream, String> {
    use std::os::fd::AsFd as _;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let socket = std::os::unix::net::UnixStream::from(stdin);
    socket.set_nonblocking(true).map_err(|error| error.to_string())?;
    tokio::net::UnixStream::from_std(socket).map_err(|error| error.to_string())
}
