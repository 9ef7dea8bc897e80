//! What every route has in common, written into the description once.
//!
//! The handlers describe their own answers. That the extractors refuse what is malformed, that a request may take too
//! long or find no place, and that every refusal is a problem document, follows from how requests are served; so
//! it is derived here and cannot be forgotten for a route.

use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

const PROBLEM: &str = "#/components/schemas/Problem";
const PROBLEM_TYPE: &str = "application/problem+json";

/// Completes the description of every operation.
pub(super) fn complete(mut description: OpenApi) -> OpenApi {
    for (path, item) in &mut description.paths.paths {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().chain([&mut item.head]).flatten() {
            refusals(path, operation);
            operation.parameters.iter_mut().flatten().for_each(header_or_none);
            operation.responses.responses.values_mut().for_each(name_problems);
        }
    }
    description
}

/// A header is there or it is not; `null` is a value like any other.
fn header_or_none(parameter: &mut Parameter) {
    if parameter.parameter_in == ParameterIn::Header
        && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
    {
        schema.schema_type = Type::String.into();
        // Of a pattern that one text fits, generators of requests make numbers as well.
        if schema.pattern.as_deref() == Some("^[*]$") {
            (schema.pattern, schema.enum_values) = (None, Some(vec!["*".into()]));
        }
    }
}

/// Adds what a request may be refused with before or beside its handler.
fn refusals(path: &str, operation: &mut Operation) {
    let parameters = operation.parameters.iter().flatten();
    let takes = |place| parameters.clone().any(|parameter| parameter.parameter_in == place);
    let mut add = |status: &str, description: &str| {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert_with(|| problem(description));
    };
    if takes(ParameterIn::Path) || takes(ParameterIn::Query) || operation.request_body.is_some() {
        add("400", "A parameter or the body is not what is described here");
    }
    if operation.request_body.is_some() {
        add("413", "The body is longer than http.body_bytes_max");
        add("415", "The content type is not application/json");
    }
    if !super::HEALTH_PATHS.contains(&path) {
        add("503", "There is no place for the connection, or nothing can be said or done now");
    }
    add("504", "No outcome within http.request_timeout_ms; a change may have been made");
}

fn problem(description: &str) -> RefOr<Response> {
    let content = Content::new(Some(Ref::new(PROBLEM)));
    ResponseBuilder::new().description(description).content(PROBLEM_TYPE, content).build().into()
}

/// A problem is not of the content type that other answers have.
fn name_problems(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let is_problem = |content: &Content| matches!(&content.schema, Some(RefOr::Ref(reference)) if reference.ref_location == PROBLEM);
    if response.content.values().any(is_problem) {
        response.content = std::mem::take(&mut response.content)
            .into_values()
            .map(|content| (PROBLEM_TYPE.to_owned(), content))
            .collect();
    }
}
