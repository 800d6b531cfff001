//! A description as aligned lines: plain values first, then lists as tables, then what lies below, indented.

use serde_json::{Map, Value};

/// Keys in the order in which people want them; others follow in alphabetical order.
const ORDER: [&str; 25] = [
    "kind",
    "number",
    "name",
    "label",
    "image",
    "version",
    "architecture",
    "development",
    "kernel",
    "loader",
    "root_hash",
    "source_date_epoch",
    "file",
    "type",
    "offset",
    "size",
    "seconds",
    "bytes",
    "attributes",
    "sha256",
    "guid",
    "type_guid",
    "signed",
    "signed_by",
    "command_line",
];

/// Renders what [`super::inspect`] returned.
pub fn as_text(value: &Value) -> String {
    let mut out = String::new();
    if let Value::Object(map) = value {
        object(&mut out, map, "");
    } else {
        out = scalar("", value);
    }
    out
}

fn object(out: &mut String, map: &Map<String, Value>, indent: &str) {
    let keys = ordered(map);
    let (plain, deep): (Vec<&str>, Vec<&str>) = keys.into_iter().partition(|key| !is_deep(&map[*key]));
    let width = plain.iter().map(|key| title(key).chars().count()).max().unwrap_or_default();
    for key in plain {
        line(out, &format!("{indent}{:width$}  {}", title(key), scalar(key, &map[key])));
    }
    let deeper = format!("{indent}  ");
    for key in deep {
        line(out, &format!("{indent}{}", title(key)));
        match &map[key] {
            Value::Object(map) => object(out, map, &deeper),
            Value::Array(rows) => table(out, rows, &deeper),
            _ => {}
        }
    }
}

/// Rows of objects as a table with a heading.
fn table(out: &mut String, rows: &[Value], indent: &str) {
    let mut heading = Map::new();
    for row in rows.iter().filter_map(Value::as_object) {
        heading.extend(row.keys().map(|key| (key.clone(), Value::Null)));
    }
    let keys = ordered(&heading);
    let cells = |row: &Value| -> Vec<String> {
        keys.iter().map(|key| row.get(key).map(|cell| scalar(key, cell)).unwrap_or_default()).collect()
    };
    let mut lines: Vec<Vec<String>> = vec![keys.iter().map(|key| title(key)).collect()];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| {
        lines.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..keys.len()).map(width).collect();
    for cells in &lines {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        line(out, &format!("{indent}{}", padded.join("  ")));
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn ordered(map: &Map<String, Value>) -> Vec<&str> {
    let mut keys: Vec<&str> = map.keys().map(String::as_str).collect();
    keys.sort_by_key(|key| (ORDER.iter().position(|known| known == key).unwrap_or(ORDER.len()), *key));
    keys
}

/// Whether a value needs lines of its own.
fn is_deep(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(rows) => rows.iter().any(Value::is_object),
        _ => false,
    }
}

fn title(key: &str) -> String {
    key.replace('_', " ")
}

/// One value on one line. Foreign texts are escaped, so that a terminal shows them and does not obey them.
fn scalar(key: &str, value: &Value) -> String {
    let is_size = ["size", "bytes", "offset", "peak_memory"].iter().any(|word| key.ends_with(word));
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => {
            number.as_u64().filter(|_| is_size && key != "sector_size").map_or_else(|| number.to_string(), size)
        }
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => {
            text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
        }
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(|value| scalar("", value)).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Object(_) => "-".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=10_239 => format!("{bytes} B"),
        10_240..=10_485_759 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
