//! Takes one declared parameter: `{ type, default, min, max, match, enum, required, help }`.

use super::{
    build::text,
    params::ParamDecl,
    problem::{Problems, join},
    tree::{Entry, Tree},
};
use crate::{
    limits::{Limits, compare, is_ordered},
    parameter::ParamType,
    template::Template,
};

/// Takes the declaration under `entry`; what does not fit together is added to `problems`.
pub(super) fn param(entry: &Entry, output: bool, path: &str, problems: &mut Problems) -> ParamDecl {
    let tree = &entry.value;
    let kind = kind(tree, path, problems);
    let limits = Limits { min: text(tree, "min"), max: text(tree, "max"), pattern: text(tree, "match") };
    let declared = ParamDecl {
        at: entry.at,
        output,
        kind,
        default: text(tree, "default").and_then(|t| t.parse::<Template>().ok()),
        required: text(tree, "required").as_deref() == Some("true"),
        generate: text(tree, "generate").and_then(|t| t.parse().ok()),
        help: text(tree, "help").unwrap_or_default(),
        limits,
    };
    check_limits(&declared, tree, path, problems);
    check_secret(&declared, tree, path, problems);
    if let (Some(value), Some(at)) = (declared.default.as_ref().and_then(Template::as_literal), tree.get("default"))
        && let Err(reason) = declared.check(value)
    {
        problems.add(at.at, &join(path, "default"), format!("`default`: {reason}"), None);
    }
    declared
}

/// The declared type. `enum:` alone says as much as `type: enum` with it.
fn kind(tree: &Tree, path: &str, problems: &mut Problems) -> ParamType {
    let words = tree.get("enum");
    let list = || words.map(Tree::items).unwrap_or_default().iter().filter_map(Tree::text).map(str::to_owned).collect();
    let kind = match text(tree, "type").as_deref() {
        None if words.is_some() => ParamType::Enum(list()),
        Some("enum") => {
            if words.is_none_or(|w| w.items().is_empty()) {
                problems.add(
                    tree.at,
                    path,
                    "the type `enum` needs the words it may be",
                    Some("enum: [one, two]".to_owned()),
                );
            }
            return ParamType::Enum(list());
        }
        Some("text") => ParamType::Text,
        Some("integer") => ParamType::Integer,
        Some("number") => ParamType::Number,
        Some("boolean") => ParamType::Boolean,
        Some("port") => ParamType::Port,
        Some("size") => ParamType::Size,
        Some("duration") => ParamType::Duration,
        Some("json") => ParamType::Json,
        Some("secret") => ParamType::Secret,
        _ => ParamType::String,
    };
    if let (Some(words), false) = (words, matches!(kind, ParamType::Enum(_))) {
        problems.add(words.at, &join(path, "enum"), "`enum` is for the type `enum`", None);
    }
    kind
}

fn check_secret(declared: &ParamDecl, tree: &Tree, path: &str, problems: &mut Problems) {
    let secret = declared.kind == ParamType::Secret;
    if let (true, Some(value)) = (secret && is_text(declared.default.as_ref()), tree.get("default")) {
        let message = "a secret has no `default`: whoever reads the module would know it";
        let hint = "write `generate: 24`, or let whoever launches it set a value";
        problems.add(value.at, &join(path, "default"), message, Some(hint.to_owned()));
    }
    if let Some(generate) = tree.get("generate") {
        let message = match (secret, &declared.default, &declared.limits.pattern) {
            (false, ..) => "`generate` is for the type `secret`",
            (true, Some(default), _) if !is_text(Some(default)) => "`generate` is for a secret without `default`",
            (true, _, Some(_)) => "`generate` makes up letters and digits, it knows nothing of `match`",
            _ => return,
        };
        problems.add(generate.at, &join(path, "generate"), message, None);
    }
}

/// True for a value that is written in the module.
pub(super) fn is_text(value: Option<&Template>) -> bool {
    value.is_some_and(|value| value.as_literal().is_some())
}

fn check_limits(declared: &ParamDecl, tree: &Tree, path: &str, problems: &mut Problems) {
    for key in ["min", "max"] {
        let Some(limit) = tree.get(key) else { continue };
        if !is_ordered(&declared.kind) {
            let message = format!("`{key}` is for the types integer, number, port, size and duration");
            problems.add(limit.at, &join(path, key), message, None);
        } else if limit.text().is_some_and(|text| declared.kind.check(text).is_err()) {
            let message = format!("`{key}` is not a value of the type itself");
            problems.add(limit.at, &join(path, key), message, None);
        }
    }
    if let (Some(min), Some(max)) = (&declared.limits.min, &declared.limits.max)
        && compare(&declared.kind, min, max) == Some(std::cmp::Ordering::Greater)
    {
        problems.add(tree.at, path, format!("`min` ({min}) is more than `max` ({max})"), None);
    }
    if let Some(pattern) = tree.get("match")
        && !matches!(declared.kind, ParamType::String | ParamType::Text | ParamType::Secret)
    {
        problems.add(pattern.at, &join(path, "match"), "`match` is for the types string, text and secret", None);
    }
}
