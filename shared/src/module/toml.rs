//! TOML text as the same tree as YAML's: one event after another to the same builder, so that limits and
//! messages are the same too.

use saphyr_parser::{Event, Marker, ScalarStyle, Span};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::Builder;

/// True for a text whose first line with something on it is `key = value`: no module file in YAML or JSON
/// begins so, and each one in TOML does.
pub(super) fn is_toml(source: &str) -> bool {
    let first = source.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let Some((key, _)) = first.and_then(|line| line.split_once('=')) else { return false };
    let key = key.trim();
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    !key.is_empty() && key.chars().all(bare)
}

/// Hands the whole text to the builder; false when reading is of no use.
pub(super) fn feed(source: &str, builder: &mut Builder<'_>) -> bool {
    let places = Places::of(source);
    let (root, errors) = DeTable::parse_recoverable(source);
    if !errors.is_empty() {
        for error in errors {
            let at = places.marker(error.span().map_or(0, |span| span.start));
            builder.unreadable(&at, &format!("this is not TOML: {}", error.message()));
        }
        return false;
    }
    if root.get_ref().is_empty() {
        return true;
    }
    let whole = places.span(&(0..source.len()));
    table(root.get_ref(), whole, &places, builder)
}

fn table(table: &DeTable<'_>, span: Span, places: &Places, builder: &mut Builder<'_>) -> bool {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    builder.take(Event::MappingStart(0, None), span)
        && entries.into_iter().all(|(key, item)| {
            let text = Event::Scalar(key.get_ref().clone(), ScalarStyle::DoubleQuoted, 0, None);
            builder.take(text, places.span(&key.span())) && value(item, places, builder)
        })
        && builder.take(Event::MappingEnd, Span::empty(span.end))
}

fn value(item: &Spanned<DeValue<'_>>, places: &Places, builder: &mut Builder<'_>) -> bool {
    let span = places.span(&item.span());
    let text = match item.get_ref() {
        DeValue::Table(inner) => return table(inner, span, places, builder),
        DeValue::Array(items) => {
            return builder.take(Event::SequenceStart(0, None), span)
                && items.iter().all(|item| value(item, places, builder))
                && builder.take(Event::SequenceEnd, Span::empty(span.end));
        }
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(time) => time.to_string(),
    };
    builder.take(Event::Scalar(text.into(), ScalarStyle::DoubleQuoted, 0, None), span)
}

/// From bytes of a text to lines and characters.
struct Places {
    /// Where each character begins, in bytes.
    chars: Vec<usize>,
    /// The number of the character each line begins with.
    lines: Vec<usize>,
}

impl Places {
    fn of(source: &str) -> Self {
        let chars: Vec<usize> = source.char_indices().map(|(at, _)| at).chain([source.len()]).collect();
        let ends = source.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(i, _)| i + 1);
        Places { lines: std::iter::once(0).chain(ends).collect(), chars }
    }

    fn marker(&self, byte: usize) -> Marker {
        let char = self.chars.partition_point(|at| *at < byte);
        let line = self.lines.partition_point(|start| *start <= char);
        Marker::new(char, line, char - self.lines[line - 1])
    }

    fn span(&self, bytes: &std::ops::Range<usize>) -> Span {
        Span::new(self.marker(bytes.start), self.marker(bytes.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::{Draft, Problems, parse, tree};

    const TOML: &str = r#"# a comment
slipstream = 1
kind = "application"
name = "apps/é"
params.site_name = { type = "string", default = "Guest book" }

[nodes.web]
image = "images/debian-12"
count = { default = 2, max = 8 }
packages = ["apache2", "php"]
deploy = """
systemctl restart apache2
"""
[nodes.web.ready]
tcp = 80

[outputs]
url = "http://${web[1].address}/"
"#;

    #[test]
    fn toml_says_the_same_as_yaml() {
        let yaml = "slipstream: 1\nkind: application\nname: apps/e\nparams: { site_name: { type: string, default: Guest book } }\nnodes:\n  web:\n    image: images/debian-12\n    count: { default: 2, max: 8 }\n    packages: [apache2, php]\n    deploy: |\n      systemctl restart apache2\n    ready: { tcp: 80 }\noutputs: { url: 'http://${web[1].address}/' }\n";
        let toml = TOML.replace('é', "e");
        let read = |source: &str| tree::read(source, &mut Problems::default()).expect("a tree");
        assert!(read(&toml).same(&read(yaml)));
        assert_eq!(parse(&toml).map(|m| m.references().len()), Ok(1));
        assert!(!is_toml(yaml) && !is_toml("{\"a\": \"b = c\"}") && !is_toml("a: b = c\n"));
    }

    #[test]
    fn mistakes_have_their_place_in_it_too() {
        let shown = |source: &str| match Draft::read(source).map(|d| d.check(&Default::default())) {
            Ok(Ok(_)) => vec![],
            Ok(Err(problems)) | Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        let found = shown(&TOML.replace("count", "cuont").replace("tcp = 80", "tcp = 0"));
        assert_eq!(
            found,
            [
                "4:8: `apps/é` is not the path of a module: each part between slashes starts with a letter or a digit",
                "9:1: `cuont` is not a key of a node (did you mean `count`?)",
                "15:7: `tcp` takes a port (a number from 1 to 65535), not `0`",
            ]
        );
        assert!(shown("a = 1\na = 2\n")[0].starts_with("2:1: this is not TOML: "), "{:?}", shown("a = 1\na = 2\n"));
        assert!(shown("a = [\n")[0].contains("this is not TOML"));
        let deep = format!("a = {}{}", "[".repeat(40), "]".repeat(40));
        assert!(shown(&deep)[0].contains("nested deeper than 32 levels"));
        assert!(shown(&format!("a = {}{}", "[".repeat(4000), "]".repeat(4000)))[0].contains("this is not TOML"));
    }
}
