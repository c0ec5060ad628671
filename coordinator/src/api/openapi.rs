//! The OpenAPI 3.1 document, made from the route table.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::Method,
    response::{IntoResponse, Response},
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use slipstream_shared::api::Problem;

use super::{
    error::Code,
    route::{Content, Needs, Route},
    table,
};

/// What the parts of paths mean.
const PARTS: [(&str, &str); 9] = [
    ("run", "The id of the run, or its last digits (at least 4)"),
    ("key", "The key of the parameter, such as `web.1:port`"),
    ("name", "The name of the barrier or lead"),
    ("instance", "The node instance, such as `web.1`"),
    ("index", "The place of the step, from 0"),
    ("user", "The name of the user"),
    ("group", "The name of the group"),
    ("id", "The id of the token or key"),
    ("path", "The path of the module, optionally with `@version`"),
];

/// `GET /api/v1/openapi.json`
pub async fn show() -> Response {
    Json(document()).into_response()
}

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in table() {
        let path = route.path.replace("{*", "{");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method.as_str().to_lowercase()] = operation(&route, &mut schemas);
    }
    let problem = schemas.subschema_for::<Problem>();
    let mut definitions = schemas.take_definitions(true);
    definitions.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "SlipStream coordinator",
            "version": "1",
            "description": "Errors are problem details (RFC 9457) with a stable `code`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "token": [] }, { "cookie": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" }, "cookie": { "type": "apiKey", "in": "cookie", "name": "__Host-slipstream" } },
            "responses": {
                "Problem": {
                    "description": "What went wrong",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "schemas": definitions,
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "tags": [route.tag],
        "summary": route.summary,
    });
    if route.needs == Needs::Nothing {
        operation["security"] = json!([]);
    }
    let parameters = parameters(route, schemas);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(takes) = &route.takes {
        let mut body = json!({ "required": true, "content": content(takes, schemas) });
        if !takes.about.is_empty() {
            body["description"] = takes.about.into();
        }
        operation["requestBody"] = body;
    }
    operation["responses"] = responses(route, schemas);
    operation
}

fn parameters(route: &Route, schemas: &mut SchemaGenerator) -> Vec<Value> {
    let mut all = Vec::new();
    for (name, about) in PARTS {
        if route.path.contains(&format!("{{{name}}}")) || route.path.contains(&format!("{{*{name}}}")) {
            let schema = json!({ "type": if name == "index" { "integer" } else { "string" } });
            all.push(json!({ "name": name, "in": "path", "required": true, "description": about, "schema": schema }));
        }
    }
    let query = route.query.map(|query| query(schemas).to_value()).unwrap_or_default();
    for (name, schema) in query["properties"].as_object().into_iter().flatten() {
        let mut schema = schema.clone();
        let about = schema.as_object_mut().and_then(|schema| schema.shift_remove("description"));
        all.push(json!({ "name": name, "in": "query", "description": about, "schema": schema }));
    }
    for (name, about) in &route.headers {
        all.push(json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string" } }));
    }
    all
}

fn responses(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for answer in &route.answers {
        let response = all.entry(answer.status.to_string()).or_insert_with(|| json!({ "description": answer.about }));
        for (media, body) in answer.content.iter().flat_map(|body| content(body, schemas)) {
            response["content"][media] = body;
        }
    }
    let mut codes: Vec<Code> = route.fails.to_vec();
    if route.needs != Needs::Nothing {
        codes.extend([Code::Unauthenticated, Code::Unavailable, Code::Denied]);
        if route.method != Method::GET {
            codes.push(Code::Csrf);
        }
    }
    codes.sort();
    codes.dedup();
    let mut words: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for code in codes {
        let (word, status, title) = code.facts();
        words.entry(status.as_u16()).or_default().push(format!("`{word}`: {title}"));
    }
    for (status, words) in words {
        let body = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        let content = json!({ "application/problem+json": body });
        all.insert(status.to_string(), json!({ "description": words.join("; "), "content": content }));
    }
    json!(all)
}

fn content(content: &Content, schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let schema = match content.schema {
        Some(schema) => schema(schemas).to_value(),
        None if content.media == "application/json" => json!({ "type": "object" }),
        None => json!({ "type": "string" }),
    };
    Map::from_iter([(content.media.to_owned(), json!({ "schema": schema }))])
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn the_openapi_document_is_the_golden_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/openapi.golden.json");
        let now = serde_json::to_string_pretty(&document()).expect("serializes") + "\n";
        if std::env::var("SLIPSTREAM_GOLDEN").is_ok_and(|what| what == "write") {
            fs::write(&path, &now).expect("writable");
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            golden == now,
            "the API differs from {}; if that is intended, run it with SLIPSTREAM_GOLDEN=write",
            path.display()
        );
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_part_of_a_path_is_described() {
        let document = document();
        let known: BTreeSet<String> = document["components"]["schemas"]
            .as_object()
            .expect("an object")
            .keys()
            .map(|name| format!("#/components/schemas/{name}"))
            .collect();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(known.contains(&reference), "{reference}");
        }
        for (path, operations) in document["paths"].as_object().expect("an object") {
            for (method, operation) in operations.as_object().expect("an object") {
                let parts = operation["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "path");
                assert_eq!(parts.count(), path.matches('{').count(), "{method} {path}");
                assert_ne!(operation["summary"], "", "{method} {path}");
                assert_ne!(operation["tags"][0], "", "{method} {path}");
            }
        }
    }

    #[test]
    fn names_of_operations_are_unique() {
        let ids: BTreeSet<_> = table().iter().map(|route| route.id).collect();
        assert_eq!(ids.len(), table().len());
    }

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value.as_str() {
                        Some(text) if key == "$ref" => found.push(text.to_owned()),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|value| references(value, found)),
            _ => (),
        }
    }
}
