//! One line of the route table: what a route is called, takes and answers, and what serves it.

use std::fmt;

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::error::Code;
use crate::app::Shared;

/// Makes the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request needs. Checked in one place, `guard.rs`, before a handler sees the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing, not even a token.
    Nothing,
    /// A token. The handler shows and does only what its user may.
    Login,
    /// A token that is not limited: it is about users, groups or tokens.
    Account,
    /// The same, and `{user}` is who asks, or an administrator asks.
    Oneself,
    /// The unlimited token of an administrator. What a route needs that does not say it.
    Admin,
}

/// A body.
pub struct Content {
    /// Its media type.
    pub media: &'static str,
    /// What is in it.
    pub about: &'static str,
    /// Its schema, if it is JSON.
    pub schema: Option<SchemaOf>,
}

/// An answer that is not an error.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What it says.
    pub about: &'static str,
    /// Its body.
    pub content: Option<Content>,
}

/// A route.
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, with parts in braces.
    pub path: &'static str,
    /// Its name, unique.
    pub id: &'static str,
    /// Its group.
    pub tag: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What a request needs.
    pub needs: Needs,
    /// The query, as a type with named fields.
    pub query: Option<SchemaOf>,
    /// Headers with a meaning of their own: name and description.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body it takes.
    pub takes: Option<Content>,
    /// What it answers.
    pub answers: Vec<Answer>,
    /// What can go wrong, apart from what can go wrong everywhere.
    pub fails: &'static [Code],
    /// What serves it.
    pub serve: MethodRouter<Shared>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

macro_rules! methods {
    ($($name:ident $method:ident;)*) => {$(
        #[doc = concat!("A route for ", stringify!($method), ".")]
        pub fn $name<H, T>(path: &'static str, id: &'static str, handler: H) -> Self
        where
            H: Handler<T, Shared>,
            T: 'static,
        {
            Route::new(Method::$method, path, id, on(MethodFilter::$method, handler))
        }
    )*};
}

impl Route {
    methods! {
        get GET;
        put PUT;
        post POST;
        patch PATCH;
        delete DELETE;
    }

    fn new(method: Method, path: &'static str, id: &'static str, serve: MethodRouter<Shared>) -> Self {
        Route {
            method,
            path,
            id,
            tag: "",
            summary: "",
            needs: Needs::Admin,
            query: None,
            headers: Vec::new(),
            takes: None,
            answers: Vec::new(),
            fails: &[],
            serve,
        }
    }

    /// Its group, and what it does.
    #[must_use]
    pub fn about(mut self, tag: &'static str, summary: &'static str) -> Self {
        (self.tag, self.summary) = (tag, summary);
        self
    }

    /// What it needs. A route that does not say it is for administrators: a forgotten word shuts a door, it
    /// never opens one.
    #[must_use]
    pub fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// The query it understands.
    #[must_use]
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self
    }

    /// A header it understands.
    #[must_use]
    pub fn header(mut self, name: &'static str, about: &'static str) -> Self {
        self.headers.push((name, about));
        self
    }

    /// It takes a JSON body.
    #[must_use]
    pub fn takes<T: JsonSchema>(mut self) -> Self {
        let schema: SchemaOf = SchemaGenerator::subschema_for::<T>;
        self.takes = Some(Content { media: "application/json", about: "", schema: Some(schema) });
        self
    }

    /// It takes another body.
    #[must_use]
    pub fn takes_media(mut self, media: &'static str, about: &'static str) -> Self {
        self.takes = Some(Content { media, about, schema: None });
        self
    }

    /// It answers with JSON.
    #[must_use]
    pub fn json<T: JsonSchema>(mut self, status: u16, about: &'static str) -> Self {
        let schema: SchemaOf = SchemaGenerator::subschema_for::<T>;
        let content = Content { media: "application/json", about, schema: Some(schema) };
        self.answers.push(Answer { status, about, content: Some(content) });
        self
    }

    /// It answers with another body.
    #[must_use]
    pub fn media(mut self, status: u16, media: &'static str, about: &'static str) -> Self {
        let content = Content { media, about, schema: None };
        self.answers.push(Answer { status, about, content: Some(content) });
        self
    }

    /// It answers without a body.
    #[must_use]
    pub fn empty(mut self, status: u16, about: &'static str) -> Self {
        self.answers.push(Answer { status, about, content: None });
        self
    }

    /// What can go wrong.
    #[must_use]
    pub fn fails(mut self, codes: &'static [Code]) -> Self {
        self.fails = codes;
        self
    }
}
