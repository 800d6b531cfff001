//! A small synchronous client of QEMU's control protocol.
//!
//! One JSON object per line over a unix socket: greeting, `qmp_capabilities`, then commands with ids and
//! events in between (QEMU documentation, "QEMU Machine Protocol Specification").

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest line that is taken from QEMU, in bytes.
const LINE_LIMIT: u64 = 4 << 20;

/// A conversation that went wrong.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket failed.
    #[error("cannot speak to the machine's control socket")]
    Socket(#[from] io::Error),
    /// The machine has gone.
    #[error("the machine closed its control socket during `{during}`; its log says why")]
    Closed {
        /// What was being waited for.
        during: String,
    },
    /// The machine did not answer in time.
    #[error("the machine did not answer `{during}` within {limit:?}; it may be overloaded")]
    Silent {
        /// What was being waited for.
        during: String,
        /// The limit.
        limit: Duration,
    },
    /// The machine refused a command.
    #[error("the machine refused `{command}`: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's own words.
        description: String,
    },
}

/// Something the machine did by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, such as `RESET` or `SHUTDOWN`.
    pub name: String,
    /// Its details, or null.
    pub data: Value,
}

/// A conversation with one machine; may be used by several threads.
#[derive(Debug)]
pub struct Qmp {
    writer: Mutex<UnixStream>,
    shared: Arc<Shared>,
    limit: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    greeted: bool,
    closed: bool,
    next_id: u64,
    answers: Vec<Value>,
    events: Vec<Event>,
}

impl Qmp {
    /// Takes over a connected socket; every answer must come within `limit`.
    pub fn over(stream: UnixStream, limit: Duration) -> Result<Self, QmpError> {
        let shared = Arc::new(Shared::default());
        let (reader, ours) = (stream.try_clone()?, Arc::clone(&shared));
        thread::Builder::new().name("qmp".into()).spawn(move || listen(reader, &ours))?;
        let qmp = Self { writer: Mutex::new(stream), shared, limit };
        qmp.wait("greeting", |state| state.greeted.then_some(()))?;
        qmp.execute("qmp_capabilities", None)?;
        Ok(qmp)
    }

    /// Runs a command and returns what it returned.
    pub fn execute(&self, command: &str, arguments: Option<Value>) -> Result<Value, QmpError> {
        let id = self.next_id();
        let mut request = json!({ "execute": command, "id": id });
        if let (Some(arguments), Some(object)) = (arguments, request.as_object_mut()) {
            object.insert("arguments".into(), arguments);
        }
        let sent = lock(&self.writer).write_all(format!("{request}\n").as_bytes());
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => QmpError::Closed { during: command.to_owned() },
            _ => error.into(),
        })?;
        let mut answer = self.wait(command, |state| {
            let place = state.answers.iter().position(|answer| answer.get("id") == Some(&json!(id)))?;
            Some(state.answers.swap_remove(place))
        })?;
        match answer.get("error") {
            Some(error) => {
                let description = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
                Err(QmpError::Refused { command: command.to_owned(), description })
            }
            None => Ok(answer.get_mut("return").map(Value::take).unwrap_or_default()),
        }
    }

    /// All events since the start, in order.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.shared.state).events.clone()
    }

    /// Whether the machine has closed the conversation, as it does when it ends.
    pub fn is_closed(&self) -> bool {
        lock(&self.shared.state).closed
    }

    /// Waits until at least `count` events of this name have come since the start.
    pub fn wait_event(&self, name: &str, count: usize, limit: Duration) -> Result<(), QmpError> {
        self.wait_within(name, limit, |state| {
            (state.events.iter().filter(|event| event.name == name).count() >= count).then_some(())
        })
    }

    fn next_id(&self) -> u64 {
        let mut state = lock(&self.shared.state);
        state.next_id += 1;
        state.next_id
    }

    fn wait<T>(&self, during: &str, look: impl FnMut(&mut State) -> Option<T>) -> Result<T, QmpError> {
        self.wait_within(during, self.limit, look)
    }

    fn wait_within<T>(
        &self,
        during: &str,
        limit: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, QmpError> {
        let (started, during) = (Instant::now(), during.to_owned());
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(found);
            }
            if state.closed {
                return Err(QmpError::Closed { during });
            }
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(QmpError::Silent { during, limit });
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        // Wakes the listening thread, which would otherwise hold the socket for as long as the machine runs.
        let _ = lock(&self.writer).shutdown(std::net::Shutdown::Both);
    }
}

/// Sorts what comes in until the socket ends; nonsense is passed over, since QEMU is not our enemy but a
/// guest may sit behind a bug of it.
fn listen(stream: UnixStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = io::Read::take(&mut reader, LINE_LIMIT).read_until(b'\n', &mut line) {
        if let Ok(value) = serde_json::from_slice::<Value>(&line) {
            lock(&shared.state).sort(value);
            shared.changed.notify_all();
        }
        line.clear();
    }
    lock(&shared.state).closed = true;
    shared.changed.notify_all();
}

impl State {
    fn sort(&mut self, mut value: Value) {
        if value.get("QMP").is_some() {
            self.greeted = true;
        } else if let Some(name) = value.get("event").and_then(Value::as_str).map(str::to_owned) {
            let data = value.get_mut("data").map(Value::take).unwrap_or_default();
            self.events.push(Event { name, data });
        } else if value.get("id").is_some() {
            self.answers.push(value);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;

    /// A mock machine: greets, then answers each command by the function.
    fn mock(answer: impl Fn(&str, &Value) -> String + Send + 'static) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writeln!(writer, "{GREETING}").unwrap();
            for line in BufReader::new(theirs).lines().map_while(Result::ok) {
                let request: Value = serde_json::from_str(&line).unwrap();
                let reply = match request["execute"].as_str().unwrap() {
                    "qmp_capabilities" => format!(r#"{{"return": {{}}, "id": {}}}"#, request["id"]),
                    command => answer(command, &request),
                };
                if reply == "close" || writeln!(writer, "{reply}").is_err() {
                    return;
                }
            }
        });
        ours
    }

    fn connect(answer: impl Fn(&str, &Value) -> String + Send + 'static) -> Qmp {
        Qmp::over(mock(answer), Duration::from_secs(5)).unwrap()
    }

    #[test]
    fn returns_the_answer_with_its_own_id_and_passes_arguments() {
        let qmp = connect(|_, request| {
            let stale = r#"{"return": "stale", "id": 999}"#;
            format!("{stale}\n{{\"return\": {}, \"id\": {}}}", request["arguments"], request["id"])
        });
        let arguments = json!({ "a": [1, "two"] });
        assert_eq!(qmp.execute("echo", Some(arguments.clone())).unwrap(), arguments);
    }

    #[test]
    fn collects_events_between_answers() {
        let qmp = connect(|_, request| {
            let event = r#"{"event": "RESET", "data": {"guest": true}, "timestamp": {}}"#;
            format!("{event}\nnonsense\n{{\"return\": {{}}, \"id\": {}}}\n{event}", request["id"])
        });
        qmp.execute("x", None).unwrap();
        qmp.wait_event("RESET", 2, Duration::from_secs(5)).unwrap();
        assert_eq!(qmp.events()[0], Event { name: "RESET".into(), data: json!({ "guest": true }) });
    }

    #[test]
    fn refusal_carries_the_reason() {
        let qmp = connect(|_, request| {
            format!(r#"{{"error": {{"class": "X", "desc": "no such thing"}}, "id": {}}}"#, request["id"])
        });
        let error = qmp.execute("bad", None).unwrap_err();
        assert_eq!(error.to_string(), "the machine refused `bad`: no such thing");
    }

    #[test]
    fn a_machine_that_ends_is_noticed_at_once() {
        let qmp = connect(|_, _| "close".into());
        assert!(matches!(qmp.execute("quit", None), Err(QmpError::Closed { .. })));
        assert!(matches!(qmp.wait_event("X", 1, Duration::from_secs(60)), Err(QmpError::Closed { .. })));
        assert!(qmp.is_closed());
    }

    #[test]
    fn a_silent_machine_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Qmp::over(ours, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, QmpError::Silent { .. }), "{error}");
    }
}
