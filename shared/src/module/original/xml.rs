//! XML as a tree of elements: as much of it as SlipStream's documents have.

use std::collections::BTreeMap;

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};

use super::Refused;

/// The largest document, in bytes. Those of the original carry copies of all images they use.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// How deep elements may be nested.
const MOST_DEPTH: usize = 64;
/// How many elements there may be.
const MOST_ELEMENTS: usize = 200_000;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) children: Vec<Element>,
    /// Its own text, as it is.
    pub(super) text: String,
}

impl Element {
    /// An attribute; one that is empty says nothing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str).filter(|text| !text.trim().is_empty())
    }

    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of the child of that name.
    pub(super) fn below(&self, name: &str) -> &[Element] {
        self.child(name).map_or(&[], |child| &child.children)
    }

    /// Its text, where it has any.
    pub(super) fn text(&self) -> Option<&str> {
        Some(self.text.as_str()).filter(|text| !text.trim().is_empty())
    }

    /// The text of a child.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).and_then(Element::text)
    }
}

/// Reads a document.
pub(super) fn read(source: &str) -> Result<Element, Refused> {
    let refused = |why: String| Refused(why);
    if source.len() > MOST_BYTES {
        return Err(refused(format!("the document has {} bytes, the limit is {MOST_BYTES}", source.len())));
    }
    let mut reader = Reader::from_str(source);
    let (mut open, mut root, mut count): (Vec<Element>, Option<Element>, usize) = (Vec::new(), None, 0);
    loop {
        let at = reader.buffer_position();
        let line = || source[..usize::try_from(at).unwrap_or(0).min(source.len())].matches('\n').count() + 1;
        let event = reader.read_event().map_err(|e| refused(format!("line {}: this is not XML: {e}", line())))?;
        let closed = match event {
            Event::Start(start) => {
                count += 1;
                if open.len() == MOST_DEPTH || count > MOST_ELEMENTS {
                    let limits = format!("{MOST_DEPTH} levels and {MOST_ELEMENTS} elements");
                    return Err(refused(format!("line {}: a document has at most {limits}", line())));
                }
                open.push(element(&start).map_err(|why| refused(format!("line {}: {why}", line())))?);
                None
            }
            Event::Empty(start) => {
                count += 1;
                Some(element(&start).map_err(|why| refused(format!("line {}: {why}", line())))?)
            }
            Event::End(_) => open.pop(),
            Event::Text(text) => {
                if let Some(top) = open.last_mut() {
                    top.text.push_str(&text);
                }
                None
            }
            Event::CData(text) => {
                if let Some(top) = open.last_mut() {
                    top.text.push_str(&text);
                }
                None
            }
            Event::GeneralRef(entity) => {
                let unknown = || refused(format!("line {}: the entity `&{};` is not known", line(), &*entity));
                let char = entity.resolve_char_ref().map_err(|_| unknown())?;
                let text = char.map(String::from).or(resolve_predefined_entity(&entity).map(str::to_owned));
                let text = text.ok_or_else(unknown)?;
                if let Some(top) = open.last_mut() {
                    top.text.push_str(&text);
                }
                None
            }
            Event::DocType(_) => {
                let why = "a document type is not read: it could bring entities, and files of this machine, with it";
                return Err(refused(format!("line {}: {why}", line())));
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => None,
        };
        if let Some(element) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None if root.is_none() => root = Some(element),
                None => return Err(refused(format!("line {}: a document has one root", line()))),
            }
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(refused("the document ends too early".to_owned())),
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = BTreeMap::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| e.to_string())?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
        attributes.insert(local(&attribute.key), value.into_owned());
    }
    Ok(Element { name: local(&start.name()), attributes, children: Vec::new(), text: String::new() })
}

/// A name without the prefix of its namespace.
fn local(name: &quick_xml::name::QName<'_>) -> String {
    name.local_name().as_ref().to_owned()
}
