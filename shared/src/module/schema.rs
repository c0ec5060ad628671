//! The table of fields as a JSON Schema (2020-12), for editors and for other programs that write modules.
//!
//! It says what keys there are and what shape their values have. What only the whole file can say (a
//! reference that leads somewhere, a default that fits its type) is for `slipstream module check`.

use serde_json::{Map, Value, json};

use super::{
    fields::{self, FAMILIES, Field, Kind, Names, Support, Table},
    problem::Problems,
    tree::{self, Data, Tree},
};

const PART: &str = "[A-Za-z0-9][A-Za-z0-9._-]*";
const REFERENCE: &str = r"\$\{";

/// The schema of module files.
#[must_use]
pub fn schema() -> Value {
    let mut defs = Map::new();
    let kinds = [&fields::PROJECT, &fields::IMAGE, &fields::COMPONENT, &fields::APPLICATION];
    let by_kind: Vec<Value> = fields::KINDS
        .iter()
        .zip(kinds)
        .map(|(kind, table)| {
            let then = refer(table, &mut defs);
            json!({ "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] }, "then": then })
        })
        .collect();
    let mut root = of_table(&fields::UNKNOWN, &mut defs);
    root["additionalProperties"] = json!(true);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "SlipStream module",
        "description": "What a machine, or an application of several machines, is and does.",
    });
    for (key, value) in root.as_object().into_iter().flatten() {
        schema[key] = value.clone();
    }
    schema["allOf"] = Value::Array(by_kind);
    schema["$defs"] = Value::Object(defs);
    schema
}

/// A reference to the definition of a table, which is made where it is not there yet.
fn refer(table: &'static Table, defs: &mut Map<String, Value>) -> Value {
    let name = table.name();
    if !defs.contains_key(&name) {
        // First, so that a table that contains itself ends.
        defs.insert(name.clone(), Value::Null);
        let def = of_table(table, defs);
        defs.insert(name.clone(), def);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn of_table(table: &'static Table, defs: &mut Map<String, Value>) -> Value {
    let now = || table.fields().filter(|field| field.support == Support::Now);
    let properties: Map<String, Value> = now().map(|field| (field.key.to_owned(), of_field(field, defs))).collect();
    let required: Vec<&str> = now().filter(|field| field.required).map(|field| field.key).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !table.one_of.is_empty() {
        schema["oneOf"] = table.one_of.iter().map(|key| json!({ "required": [key] })).collect();
    }
    schema
}

fn of_field(field: &Field, defs: &mut Map<String, Value>) -> Value {
    let mut schema = of_kind(field.kind, defs);
    schema["description"] = json!(field.help);
    if !field.default.is_empty() {
        schema["default"] = value(field.default);
    }
    if !field.example.is_empty() {
        schema["examples"] = json!([value(field.example)]);
    }
    schema
}

/// A value of a module file, as JSON has it.
fn value(yaml: &str) -> Value {
    tree::read(yaml, &mut Problems::default()).map_or(Value::Null, |tree| json(&tree))
}

/// A tree as JSON, with numbers and words as YAML's core schema reads them.
pub(super) fn json(tree: &Tree) -> Value {
    match &tree.data {
        Data::Null => Value::Null,
        Data::Text(text) => match text.as_str() {
            "true" => json!(true),
            "false" => json!(false),
            text => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
        },
        Data::List(items) => items.iter().map(json).collect(),
        Data::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
    }
}

/// Text that looks like a number is text to us all the same, and one may write either.
fn text(pattern: &str) -> Value {
    json!({ "type": ["string", "number", "boolean"], "pattern": pattern })
}

/// Text that never looks like a number.
fn string(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn of_kind(kind: Kind, defs: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Text | Kind::Template => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Line => text(r"^[^\n]+$"),
        Kind::Port => {
            let pattern = format!("^[0-9]{{1,5}}$|{REFERENCE}");
            json!({ "type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": pattern })
        }
        Kind::Url => json!({ "type": "string", "pattern": format!("^(https?://|{REFERENCE})") }),
        Kind::Path => {
            let mut path = text(&format!("^{PART}(/{PART})*$"));
            path["maxLength"] = json!(200);
            path
        }
        Kind::ModuleRef => text(&format!("^{PART}(/{PART})*(@([1-9][0-9]*|published))?$")),
        Kind::File => text(r"^(?!\.{1,2}(/|$))[^/\\\n]+(/(?!\.{1,2}(/|$))[^/\\\n]+)*$"),
        Kind::Regex => json!({ "type": ["string", "number", "boolean"], "format": "regex" }),
        Kind::Milestone => {
            string(r"^[A-Za-z][A-Za-z0-9_]{0,30}(\[([1-9][0-9]*|\*|any)\])?\.(enrolled|deployed|ready)$")
        }
        Kind::Boolean => json!({ "enum": [true, false, "true", "false"] }),
        Kind::Size => string(r"^0*[1-9][0-9]*\s*([KMGT]iB|[kMGT]?B)$"),
        Kind::Duration => string(r"^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"),
        Kind::Whole(min, max) if min == max => json!({ "enum": [min, min.to_string()] }),
        Kind::Whole(min, max) => {
            json!({ "type": ["integer", "string"], "minimum": min, "maximum": max, "pattern": r"^\+?[0-9]+$" })
        }
        Kind::Words(words, _) => json!({ "enum": words }),
        Kind::List(item) => json!({ "type": "array", "items": of_kind(*item, defs) }),
        Kind::Map(names, item) => json!({
            "type": "object",
            "patternProperties": { pattern(names): of_kind(*item, defs) },
            "additionalProperties": false,
            "maxProperties": tree::MAX_ENTRIES,
        }),
        Kind::Fields(table) => refer(table, defs),
        Kind::OneOf(kinds) => json!({ "anyOf": kinds.iter().map(|kind| of_kind(*kind, defs)).collect::<Vec<_>>() }),
        Kind::Unread => json!(false),
    }
}

/// What the names of a map look like.
fn pattern(names: Names) -> String {
    match names {
        Names::Param => r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$".to_owned(),
        Names::Node => r"^(?!(ss|orchestrator)$)[A-Za-z][A-Za-z0-9_]{0,30}$".to_owned(),
        Names::Env => r"^(?!SLIPSTREAM_)[A-Za-z_][A-Za-z0-9_]*$".to_owned(),
        Names::Cloud => r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$".to_owned(),
        Names::Family => format!("^({})$", FAMILIES.join("|")),
        Names::Index => "^[1-9][0-9]{0,9}$".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{golden, module::shape};

    /// What an independent validator says of a file: nothing, where the schema takes it.
    pub(in crate::module) fn refusal(source: &str) -> Option<String> {
        static VALIDATOR: std::sync::OnceLock<jsonschema::Validator> = std::sync::OnceLock::new();
        let validator = VALIDATOR.get_or_init(|| jsonschema::draft202012::new(&schema()).expect("a schema"));
        let tree = tree::read(source, &mut Problems::default())?;
        validator.validate(&json(&tree)).err().map(|error| error.to_string())
    }

    /// Asserts that reader and schema agree on a file, as far as a schema can say.
    pub(in crate::module) fn agree(source: &str, accepted: bool) {
        let mut problems = Problems::default();
        let Some(tree) = tree::read(source, &mut problems) else { return };
        let refusal = refusal(source);
        if accepted {
            assert_eq!(refusal, None, "the schema refuses what is good: {source}");
            return;
        }
        let mut problems = Problems::default();
        shape::table(&tree, crate::module::build::table_of(&tree), "", &mut problems);
        // Grammars within a text, and what depends on how many there are.
        let beyond = ["${", "regular expression", "references", "is empty", "takes one line"];
        let visible = problems.iter().any(|p| !beyond.iter().any(|word| p.message.contains(word)));
        assert!(!visible || refusal.is_some(), "the schema takes what is not: {source}");
    }

    #[test]
    fn the_schema_is_the_golden_one_and_a_schema() {
        let schema = schema();
        jsonschema::meta::validate(&schema).expect("valid against the schema of schemas");
        let text = serde_json::to_string_pretty(&schema).expect("serializes") + "\n";
        golden::check(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/module.schema.json"), &text);
    }

    #[test]
    fn every_example_of_the_project_is_valid() {
        let mut seen = 0;
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "yaml") {
                    let source = std::fs::read_to_string(&path).expect("text");
                    if source.lines().any(|line| line.starts_with("slipstream:")) {
                        assert_eq!(refusal(&source), None, "{}", path.display());
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen >= 10, "{seen}");
    }

    #[test]
    fn mistakes_that_a_schema_can_see_are_refused_by_it() {
        let head = "slipstream: 1\nkind: application\nname: a\n";
        let node = |keys: &str| format!("{head}nodes: {{ n: {{ image: i, {keys} }} }}\n");
        assert_eq!(refusal(&node("count: 2")), None);
        for bad in [
            "kind: application\nname: a\n".to_owned(),
            head.to_owned(),
            node("deplyo: x"),
            node("size: { ram: 4G }"),
            node("use: b"),
            node("ready: { within: 5m }"),
            node("ready: { tcp: 1, http: 'http://x' }"),
            node("deploy: { within: 5m }"),
            node("env: { SLIPSTREAM_X: y }"),
            node("needs: [ mysql ]"),
            node("instances: { 0: {} }"),
        ] {
            assert!(refusal(&bad).is_some(), "{bad}");
        }
    }
}
